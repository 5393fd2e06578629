"""Pooling of features over transformed views, over video frames, and over the regions of an image."""

from sklinvariant.pooling._auto_pooling._auto_pooling import AutoPooling
from sklinvariant.pooling._nested._nested_invariance_pooler import NestedInvariancePooler
from sklinvariant.pooling._pair_moments import pooling_errors
from sklinvariant.pooling._slow_features import SlowFeatures
from sklinvariant.pooling._spatial_pooling import SpatialPooling

__all__ = ["AutoPooling", "NestedInvariancePooler", "SlowFeatures", "SpatialPooling", "pooling_errors"]
