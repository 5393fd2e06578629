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
from sklinvariant.networks._squeezenet import SqueezeNet11Features

__all__ = [
    "Bags",
    "LinearCost",
    "MeanEncoder",
    "Objective",
    "OwnCost",
    "SoftBagOfWords",
    "SoftFisherVector",
    "SoftVLAD",
    "SqueezeNet11Features",
    "Units",
    "fit_cost",
    "map_features",
    "normalize_vlad",
]
