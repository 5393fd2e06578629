"""Clusters that are the same for what looks the same, and classes made of them."""

from sklinvariant.cluster._overclustering_classifier import OverclusteringClassifier

__all__ = ["OverclusteringClassifier"]
