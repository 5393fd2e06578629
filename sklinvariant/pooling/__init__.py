"""Pooling: what is seen over many views of an image, or in frame after frame, becomes one vector that they share."""

from sklinvariant.pooling._auto_pooling import AutoPooling
from sklinvariant.pooling._nested_invariance_pooler import NestedInvariancePooler
from sklinvariant.pooling._pair_moments import pooling_errors
from sklinvariant.pooling._spatial_pooling import SpatialPooling

__all__ = ["AutoPooling", "NestedInvariancePooler", "SpatialPooling", "pooling_errors"]
