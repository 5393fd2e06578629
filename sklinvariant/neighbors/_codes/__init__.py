"""Search in binary codes: `_hamming_neighbors` is the estimator, `_indexed_codes` chooses the search."""
