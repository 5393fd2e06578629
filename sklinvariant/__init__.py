"""scikit-learn estimators, computed by torch, that learn invariance.

Everything is loaded when it is first used: importing this package imports neither torch nor scikit-learn.
"""

import importlib

__version__ = "0.1.0.dev0"

_SUBPACKAGES = (
    "aggregation",
    "autoencoder",
    "cluster",
    "datasets",
    "feature_extraction",
    "hashing",
    "inspection",
    "kernels",
    "metrics",
    "networks",
    "pooling",
    "transforms",
)
_NAMES = {
    "AutoPooling": "pooling",
    "BagOfWords": "aggregation",
    "DescriptorSets": "_descriptors",
    "FisherVector": "aggregation",
    "IICClusterer": "cluster",
    "LearnedAggregation": "aggregation",
    "LearnedBoW": "aggregation",
    "LearnedFisherVector": "aggregation",
    "LearnedVLAD": "aggregation",
    "NestedInvariancePooler": "pooling",
    "RBMHasher": "hashing",
    "VLAD": "aggregation",
    "all_estimators": "_discovery",
    "load": "_persistence",
    "save": "_persistence",
    "show_versions": "_show_versions",
    "trusted_types": "_persistence",
}
__all__ = ["__version__", *_NAMES, *_SUBPACKAGES]


def __getattr__(name):
    if name in _SUBPACKAGES:
        return importlib.import_module(f"sklinvariant.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"sklinvariant.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'sklinvariant' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
