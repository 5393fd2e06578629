"""Invariant clustering of samples and of pixels, and classifiers that use clusters and few labels."""

from sklinvariant.cluster._consensus_clusterer import ConsensusClusterer
from sklinvariant.cluster._duplicate_images import DuplicateImages
from sklinvariant.cluster._iic_classifier import IICClassifier
from sklinvariant.cluster._iic_clusterer import IICClusterer
from sklinvariant.cluster._iic_segmenter import IICSegmenter
from sklinvariant.cluster._overclustering_classifier import OverclusteringClassifier
from sklinvariant.cluster._temi_clusterer import TEMIClusterer
from sklinvariant.cluster._turtle_clusterer import TURTLEClusterer

__all__ = [
    "ConsensusClusterer",
    "DuplicateImages",
    "IICClassifier",
    "IICClusterer",
    "IICSegmenter",
    "OverclusteringClassifier",
    "TEMIClusterer",
    "TURTLEClusterer",
]
