"""Tensor operations that at least two methods use, with bounded memory."""

from sklinvariant.ops._binary_units import Draw, counts_draws, draw_states, draw_units
from sklinvariant.ops._chunks import (
    CACHE_BYTES,
    DOUBLE_ROWS,
    chunk_rows,
    compute_dtype,
    concatenated,
    float64_device,
    gather_bags,
    samples_at_once,
    standardize,
    take_rows,
)
from sklinvariant.ops._displaced_joints import displaced_joints
from sklinvariant.ops._hamming import BitPlanes, bit_planes, nearest_codes
from sklinvariant.ops._memory import (
    DEVICE_BYTES,
    chunk_bytes,
    chunk_share,
    in_smaller_chunks,
    usual_chunks,
)
from sklinvariant.ops._mixture import Mixture, mixture_scores
from sklinvariant.ops._moments import Moment, moment
from sklinvariant.ops._mutual_information import joint_information, joint_sum
from sklinvariant.ops._nearest import count_codewords, nearest_codewords, sum_by_codeword, sum_by_label
from sklinvariant.ops._pair_products import gram, pair_products, pairs_of_rows
from sklinvariant.ops._resample import Resampler, pixel_moves, resample
from sklinvariant.ops._scale import (
    check_reach,
    in_safe_unit,
    largest_value,
    power_of_two,
    safe_unit,
    unit_length,
    unit_of,
)
from sklinvariant.ops._soft_moments import Scores, equal_moments, soft_moments, weighted_moments

__all__ = [
    "CACHE_BYTES",
    "DEVICE_BYTES",
    "DOUBLE_ROWS",
    "BitPlanes",
    "Draw",
    "Mixture",
    "Moment",
    "Resampler",
    "Scores",
    "bit_planes",
    "check_reach",
    "chunk_bytes",
    "chunk_rows",
    "chunk_share",
    "compute_dtype",
    "concatenated",
    "count_codewords",
    "counts_draws",
    "displaced_joints",
    "draw_states",
    "draw_units",
    "equal_moments",
    "float64_device",
    "gather_bags",
    "gram",
    "in_safe_unit",
    "in_smaller_chunks",
    "joint_information",
    "joint_sum",
    "largest_value",
    "mixture_scores",
    "moment",
    "nearest_codes",
    "nearest_codewords",
    "pair_products",
    "pairs_of_rows",
    "pixel_moves",
    "power_of_two",
    "resample",
    "safe_unit",
    "samples_at_once",
    "soft_moments",
    "standardize",
    "sum_by_codeword",
    "sum_by_label",
    "take_rows",
    "unit_length",
    "unit_of",
    "usual_chunks",
    "weighted_moments",
]
