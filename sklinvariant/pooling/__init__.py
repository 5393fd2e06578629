"""Pooling: what is seen over many views of an image becomes one vector that they share."""

from sklinvariant.pooling._nested_invariance_pooler import NestedInvariancePooler

__all__ = ["NestedInvariancePooler"]
