"""Ranges, means, deviations and products of the columns of rows, in float64.

The rows may have weights (n,) as a second part of each block. Axes: n rows, d columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from sklinvariant.accumulate._accumulate import accumulate
from sklinvariant.accumulate._blocks import Blocks
from sklinvariant.ops import gram

_MOST_ROWS = 2048  # in a block of `scatter`, so that adding a (d, d) matrix is comparatively cheap


@dataclass(frozen=True)
class Range:
    """The smallest and largest value of each column, (d,) each. The sum of two ranges contains both."""

    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of(cls, rows: torch.Tensor) -> Range:
        """The range of rows (n, d)."""
        return cls(rows.amin(0), rows.amax(0))  # many times faster than torch.aminmax along this axis

    def __add__(self, other: Range) -> Range:
        return Range(torch.minimum(self.low, other.low), torch.maximum(self.high, other.high))


class Columns(NamedTuple):
    """The total weight of the rows, and the mean and range of each column.

    Parameters
    ----------
    mass : float
        Total weight of the rows, which is their number without weights.
    mean : tensor of shape (d,)
        Mean of each column.
    low, high : tensor of shape (d,)
        Smallest and largest value of each column.
    """

    mass: float
    mean: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @property
    def reach(self) -> torch.Tensor:
        """The largest distance of a value from the mean of its column, (d,)."""
        return torch.maximum(self.high - self.mean, self.mean - self.low)

    @property
    def unit(self) -> float:
        """The largest distance of any value from the mean of its column, or 1: in this unit no product overflows."""
        return float(self.reach.max()) or 1.0


class _Sums(NamedTuple):
    mass: torch.Tensor
    total: torch.Tensor
    range: Range


def column_range(blocks: Blocks) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest and largest value of each column (d,), in the dtype of the blocks."""
    extremes = accumulate(lambda block, _: Range.of(_rows(block)), blocks)
    return extremes.low, extremes.high


def measure_columns(blocks: Iterable[Any]) -> Columns:
    """The `Columns` of rows, in one pass. Other blocks than `Blocks` must be in float64."""
    mass, total, extremes = accumulate(_sum_columns, _in_double(blocks))
    low, high = extremes.low, extremes.high
    mean = torch.minimum(torch.maximum(total / mass, low), high)  # exact if all values are equal
    return Columns(float(mass), mean, low, high)


def _sum_columns(block, _):
    rows, weights = _rows(block), _weights(block)
    return _Sums(weights.sum(), weights @ rows, Range.of(rows))


def deviations(blocks: Iterable[Any], columns: Columns) -> torch.Tensor:
    """The standard deviation of each column (d,), in one pass. The squares do not overflow."""
    unit = torch.where(columns.reach > 0, columns.reach, 1.0)
    squares = accumulate(_sum_squares, _in_double(blocks), (columns.mean, unit))
    return unit * (squares / columns.mass).sqrt()


def _sum_squares(block, state):
    mean, unit = state
    return _weights(block) @ torch.sub(_rows(block), mean).div_(unit).square_()


def scatter(blocks: Blocks, mean: torch.Tensor, unit: torch.Tensor | float) -> torch.Tensor:
    """The sum of :math:`z^T z` over the rows ``z = (x - mean) / unit``: (d, d), in one pass. Weights are ignored."""
    blocks = blocks.double()
    blocks = blocks.of_size(max(blocks.size, min(len(mean), _MOST_ROWS)))
    return accumulate(lambda block, _: gram(torch.sub(_rows(block), mean).div_(unit)), blocks)


def _in_double(blocks):
    return blocks.double() if isinstance(blocks, Blocks) else blocks


def _rows(block):
    return block[0] if isinstance(block, tuple) else block


def _weights(block):
    return block[1].double() if isinstance(block, tuple) else _rows(block).new_ones(len(_rows(block)))
