"""scikit-learn estimators that learn invariant features with torch.

Names are loaded when they are first used: importing this package imports neither torch nor scikit-learn.
"""

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

PUBLIC_ROOMS = (
    "aggregation",
    "autoencoder",
    "cluster",
    "datasets",
    "feature_extraction",
    "hashing",
    "inspection",
    "metrics",
    "neighbors",
    "networks",
    "ops",
    "pooling",
    "transforms",
)
_NAMES = {
    "AutoPooling": "pooling",
    "BackboneFeatures": "feature_extraction",
    "BackbonePatches": "feature_extraction",
    "BagOfWords": "aggregation",
    "BilinearHasher": "hashing",
    "CanonicalRotation": "autoencoder",
    "ConsensusClusterer": "cluster",
    "ConvolutionalFeatures": "feature_extraction",
    "DensePatches": "feature_extraction",
    "DescriptorSets": "bags",
    "DuplicateImages": "cluster",
    "EmbeddingNeighbors": "neighbors",
    "EquivariantAutoencoder": "autoencoder",
    "FisherVector": "aggregation",
    "GeMPooling": "aggregation",
    "HammingNeighbors": "neighbors",
    "IICClassifier": "cluster",
    "IICClusterer": "cluster",
    "IICSegmenter": "cluster",
    "ITQHasher": "hashing",
    "LSHHasher": "hashing",
    "LearnedAggregation": "aggregation",
    "LearnedBoW": "aggregation",
    "LearnedFisherVector": "aggregation",
    "LearnedVLAD": "aggregation",
    "LocalDescriptors": "feature_extraction",
    "NeighborHasher": "hashing",
    "NestedInvariancePooler": "pooling",
    "OnDescriptors": "feature_extraction",
    "OverclusteringClassifier": "cluster",
    "PCAHasher": "hashing",
    "QuantizedNeighbors": "neighbors",
    "RBMHasher": "hashing",
    "SKLSHHasher": "hashing",
    "SecondOrderPooling": "aggregation",
    "SignHasher": "hashing",
    "SlowFeatures": "pooling",
    "SparseAutoencoder": "autoencoder",
    "SpatialPooling": "pooling",
    "SpectralHasher": "hashing",
    "TEMIClusterer": "cluster",
    "TURTLEClusterer": "cluster",
    "VLAD": "aggregation",
    "all_estimators": "base",
    "distributed": "_distributed",
    "load": "base",
    "save": "base",
    "show_versions": "base",
    "to_module": "base",
    "trusted_types": "base",
}
__all__ = ["__version__", *_NAMES, *PUBLIC_ROOMS]


def __getattr__(name: str) -> Any:
    if name in PUBLIC_ROOMS:
        return importlib.import_module(f"sklinvariant.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"sklinvariant.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'sklinvariant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
