"""Search in vectors by their codes: `_embedding_neighbors` and `_quantized_neighbors` are the estimators."""
