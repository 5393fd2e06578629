"""Pooling learned from video; `_auto_pooling` is the estimator, with two solvers."""
