"""torch modules: encoders of bags, costs. Nothing here knows scikit-learn."""

from sklinvariant.networks._encoders import (
    Bags,
    MeanEncoder,
    SoftBagOfWords,
    SoftFisherVector,
    SoftVLAD,
    Units,
    normalize_vlad,
)
from sklinvariant.networks._objective import LinearCost, Objective, OwnCost, fit_cost, map_features

__all__ = [
    "Bags",
    "LinearCost",
    "MeanEncoder",
    "Objective",
    "OwnCost",
    "SoftBagOfWords",
    "SoftFisherVector",
    "SoftVLAD",
    "Units",
    "fit_cost",
    "map_features",
    "normalize_vlad",
]
