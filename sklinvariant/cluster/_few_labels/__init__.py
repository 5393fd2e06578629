"""Classifiers that use clusters and few labels: `_iic_classifier` and `_overclustering_classifier`."""
