"""torch modules without scikit-learn: encoders of bags, networks for images, and losses."""

from sklinvariant.networks._batch_norm import BatchNorm2d, normalize_by_whole_batch
from sklinvariant.networks._encoders._bags import Bags, EqualBags, Units
from sklinvariant.networks._encoders._codebook_encoders import SoftBagOfWords, SoftVLAD
from sklinvariant.networks._encoders._fisher_encoder import SoftFisherVector
from sklinvariant.networks._encoders._mean_encoder import MeanEncoder
from sklinvariant.networks._encoders._normalization import normalize_vlad
from sklinvariant.networks._group import Group, rotation_matrices
from sklinvariant.networks._group_convolutions import GroupConv2d, GroupConvTranspose2d, LiftingConv2d, ProjectingConv2d
from sklinvariant.networks._group_layers import GroupBatchNorm2d, GroupPool2d, GroupUpsample2d
from sklinvariant.networks._layers import FLOAT32, linear
from sklinvariant.networks._objective import (
    CustomLoss,
    LinearLoss,
    Objective,
    map_features,
    minimize_loss,
    target_deviation,
)
from sklinvariant.networks._squeezenet import SqueezeNet11Features
from sklinvariant.networks._trunks import mlp_trunk, resnet_trunk, trunk_for, vgg_trunk

__all__ = [
    "FLOAT32",
    "Bags",
    "BatchNorm2d",
    "CustomLoss",
    "EqualBags",
    "Group",
    "GroupBatchNorm2d",
    "GroupConv2d",
    "GroupConvTranspose2d",
    "GroupPool2d",
    "GroupUpsample2d",
    "LiftingConv2d",
    "LinearLoss",
    "MeanEncoder",
    "Objective",
    "ProjectingConv2d",
    "SoftBagOfWords",
    "SoftFisherVector",
    "SoftVLAD",
    "SqueezeNet11Features",
    "Units",
    "linear",
    "map_features",
    "minimize_loss",
    "mlp_trunk",
    "normalize_by_whole_batch",
    "normalize_vlad",
    "resnet_trunk",
    "rotation_matrices",
    "target_deviation",
    "trunk_for",
    "vgg_trunk",
]
