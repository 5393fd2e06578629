"""torch modules: encoders of bags, networks of images, costs. Nothing here knows scikit-learn."""

from sklinvariant.networks._class_network import ClassNetwork
from sklinvariant.networks._cluster_network import ClusterNetwork, most_information
from sklinvariant.networks._encoders import (
    Bags,
    MeanEncoder,
    SoftBagOfWords,
    SoftFisherVector,
    SoftVLAD,
    Units,
    normalize_vlad,
)
from sklinvariant.networks._equivariant_autoencoder import (
    EquivariantAutoencoderNetwork,
    align,
    count_features,
    gram_pool,
    place,
)
from sklinvariant.networks._group import Group
from sklinvariant.networks._group_convolutions import GroupConv2d, GroupConvTranspose2d, LiftingConv2d, ProjectingConv2d
from sklinvariant.networks._group_layers import GroupBatchNorm2d, GroupPool2d, GroupUpsample2d
from sklinvariant.networks._heads import SubHeads
from sklinvariant.networks._objective import LinearCost, Objective, OwnCost, fit_cost, map_features
from sklinvariant.networks._pooling_loss import PoolingLoss, ProjectedSGD, pair_curvature
from sklinvariant.networks._rbm import (
    RestrictedBoltzmannMachine,
    batch_regularizer,
    free_energy,
    log_odds,
    pseudo_log_likelihood,
    start_weights,
    uniform_targets,
)
from sklinvariant.networks._segmentation_trunk import SegmentationNetwork, SegmentationTrunk
from sklinvariant.networks._sparse_autoencoder import SparseAutoencoderNetwork, kl_sparsity
from sklinvariant.networks._squeezenet import SqueezeNet11Features
from sklinvariant.networks._trunks import mlp_trunk, resnet_trunk, vgg_trunk

__all__ = [
    "Bags",
    "ClassNetwork",
    "ClusterNetwork",
    "EquivariantAutoencoderNetwork",
    "Group",
    "GroupBatchNorm2d",
    "GroupConv2d",
    "GroupConvTranspose2d",
    "GroupPool2d",
    "GroupUpsample2d",
    "LiftingConv2d",
    "LinearCost",
    "MeanEncoder",
    "Objective",
    "OwnCost",
    "PoolingLoss",
    "ProjectedSGD",
    "ProjectingConv2d",
    "RestrictedBoltzmannMachine",
    "SegmentationNetwork",
    "SegmentationTrunk",
    "SoftBagOfWords",
    "SoftFisherVector",
    "SoftVLAD",
    "SparseAutoencoderNetwork",
    "SqueezeNet11Features",
    "SubHeads",
    "Units",
    "align",
    "batch_regularizer",
    "count_features",
    "fit_cost",
    "free_energy",
    "gram_pool",
    "kl_sparsity",
    "log_odds",
    "map_features",
    "mlp_trunk",
    "most_information",
    "normalize_vlad",
    "pair_curvature",
    "place",
    "pseudo_log_likelihood",
    "resnet_trunk",
    "start_weights",
    "uniform_targets",
    "vgg_trunk",
]
