"""Invariant clustering of samples and of pixels, and classifiers that use clusters and few labels."""

from sklinvariant.cluster._duplicates._duplicate_images import DuplicateImages
from sklinvariant.cluster._embeddings._consensus_clusterer import ConsensusClusterer
from sklinvariant.cluster._embeddings._temi_clusterer import TEMIClusterer
from sklinvariant.cluster._embeddings._turtle_clusterer import TURTLEClusterer
from sklinvariant.cluster._few_labels._iic_classifier import IICClassifier
from sklinvariant.cluster._few_labels._overclustering_classifier import OverclusteringClassifier
from sklinvariant.cluster._iic._iic_clusterer import IICClusterer
from sklinvariant.cluster._segmentation._iic_segmenter import IICSegmenter

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
