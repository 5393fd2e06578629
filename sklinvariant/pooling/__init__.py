"""Pooling: what is seen over many views of an image becomes one vector that they share."""

from sklinvariant.pooling._nested_invariance_pooler import NestedInvariancePooler
from sklinvariant.pooling._spatial_pooling import SpatialPooling

__all__ = ["NestedInvariancePooler", "SpatialPooling"]
