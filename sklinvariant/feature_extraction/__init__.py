"""Images to bags of local descriptors."""

from sklinvariant.feature_extraction._backbone_patches import BackbonePatches
from sklinvariant.feature_extraction._dense_patches import DensePatches
from sklinvariant.feature_extraction._local_descriptors import LocalDescriptors
from sklinvariant.feature_extraction._on_descriptors import OnDescriptors

__all__ = ["BackbonePatches", "DensePatches", "LocalDescriptors", "OnDescriptors"]
