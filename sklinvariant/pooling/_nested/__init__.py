"""Pooling over transformed views; `_nested_invariance_pooler` is the estimator."""
