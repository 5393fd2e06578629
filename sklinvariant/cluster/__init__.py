"""Clusters that are the same for what looks the same, of pixels too, and classes made of clusters."""

from sklinvariant.cluster._iic_classifier import IICClassifier
from sklinvariant.cluster._iic_clusterer import IICClusterer
from sklinvariant.cluster._iic_segmenter import IICSegmenter
from sklinvariant.cluster._overclustering_classifier import OverclusteringClassifier

__all__ = ["IICClassifier", "IICClusterer", "IICSegmenter", "OverclusteringClassifier"]
