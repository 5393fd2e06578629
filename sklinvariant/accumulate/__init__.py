"""Statistics that are sums over data, computed block by block."""

from sklinvariant.accumulate._accumulate import accumulate
from sklinvariant.accumulate._blocks import Blocks
from sklinvariant.accumulate._channels import channel_spread
from sklinvariant.accumulate._clustering import draw_rows, fit_kmeans, fit_mixture, hard_mixture
from sklinvariant.accumulate._columns import Columns, column_range, deviations, measure_columns, scatter
from sklinvariant.accumulate._moments import Moments, measure_moments
from sklinvariant.accumulate._row_sample import RowSample, sample_descriptors
from sklinvariant.accumulate._stepwise import codeword_shares, step_kmeans, step_mixture, step_size

__all__ = [
    "Blocks",
    "Columns",
    "Moments",
    "RowSample",
    "accumulate",
    "channel_spread",
    "codeword_shares",
    "column_range",
    "deviations",
    "draw_rows",
    "fit_kmeans",
    "fit_mixture",
    "hard_mixture",
    "measure_columns",
    "measure_moments",
    "sample_descriptors",
    "scatter",
    "step_kmeans",
    "step_mixture",
    "step_size",
]
