"""Clustering of pixels; `_iic_segmenter` is the estimator."""
