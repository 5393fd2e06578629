"""Clustering by the mutual information of pairs; `_iic_clusterer` is the estimator."""
