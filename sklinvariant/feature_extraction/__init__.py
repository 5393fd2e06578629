"""Extraction of bags of local descriptors and of feature maps from images."""

from sklinvariant.feature_extraction._backbones._backbone_features import BackboneFeatures
from sklinvariant.feature_extraction._backbones._backbone_list import list_backbones
from sklinvariant.feature_extraction._backbones._backbone_patches import BackbonePatches
from sklinvariant.feature_extraction._backbones._weights import load_weights
from sklinvariant.feature_extraction._convolutional_features import ConvolutionalFeatures
from sklinvariant.feature_extraction._dense_patches import DensePatches
from sklinvariant.feature_extraction._local_descriptors import LocalDescriptors
from sklinvariant.feature_extraction._on_descriptors import OnDescriptors

__all__ = [
    "BackboneFeatures",
    "BackbonePatches",
    "ConvolutionalFeatures",
    "DensePatches",
    "LocalDescriptors",
    "OnDescriptors",
    "list_backbones",
    "load_weights",
]
