"""Numeric primitives on tensors: chunked, differentiable, free of scikit-learn."""

from sklinvariant.kernels._chi2 import chi2_map
from sklinvariant.kernels._chunks import DOUBLE_ROWS, compute_dtype, gather_bags, standardize, take_rows
from sklinvariant.kernels._clustering import Mixture, draw_rows, fit_kmeans, fit_mixture, hard_mixture, mixture_scores
from sklinvariant.kernels._dense_mutual_information import (
    dense_information,
    dense_joints,
    displaced_joints,
    pooled_joint,
)
from sklinvariant.kernels._filters import fit_zca, slide, take_patches
from sklinvariant.kernels._merge import merge_clusters
from sklinvariant.kernels._moments import Moment, moment
from sklinvariant.kernels._mutual_information import joint_information, joint_sum
from sklinvariant.kernels._nearest import count_codewords, nearest_codewords, sum_by_codeword
from sklinvariant.kernels._pair_moments import PairMoments, pair_moments, pooling_errors, pooling_ray
from sklinvariant.kernels._pooling_descent import Iterate, PoolingObjective, best_multiple, descend
from sklinvariant.kernels._resample import pixel_moves, resample
from sklinvariant.kernels._scale import (
    check_reach,
    in_safe_unit,
    largest_value,
    power_of_two,
    safe_unit,
    unit_length,
)
from sklinvariant.kernels._soft_moments import Scores, assign_softly, soft_moments

__all__ = [
    "DOUBLE_ROWS",
    "Iterate",
    "Mixture",
    "Moment",
    "PairMoments",
    "PoolingObjective",
    "Scores",
    "assign_softly",
    "best_multiple",
    "check_reach",
    "chi2_map",
    "compute_dtype",
    "count_codewords",
    "dense_information",
    "dense_joints",
    "descend",
    "displaced_joints",
    "draw_rows",
    "fit_kmeans",
    "fit_mixture",
    "fit_zca",
    "gather_bags",
    "hard_mixture",
    "in_safe_unit",
    "joint_information",
    "joint_sum",
    "largest_value",
    "merge_clusters",
    "mixture_scores",
    "moment",
    "nearest_codewords",
    "pair_moments",
    "pixel_moves",
    "pooled_joint",
    "pooling_errors",
    "pooling_ray",
    "power_of_two",
    "resample",
    "safe_unit",
    "slide",
    "soft_moments",
    "standardize",
    "sum_by_codeword",
    "take_patches",
    "take_rows",
    "unit_length",
]
