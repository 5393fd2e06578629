"""Clustering of embeddings; `_temi_clusterer`, `_turtle_clusterer` and `_consensus_clusterer` are the estimators."""
