"""Poolings that learn nothing from the bags: their ``fit``, and the moments of the descriptors of each bag."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch

from sklinvariant._compat import fit_context, reports_fit
from sklinvariant._settings import in_own_precision
from sklinvariant.aggregation._aggregator import BagPooling
from sklinvariant.base import declared


def whole_bags(offsets: np.ndarray, rows: int, most: int) -> Iterator[tuple[int, int]]:
    """Runs ``first:last`` of at most ``most`` bags with at most ``rows`` descriptors together, or of one larger bag."""
    first, n = 0, len(offsets) - 1
    while first < n:
        last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = min(max(last, first + 1), first + most, n)
        yield first, last
        first = last


@in_own_precision
def bag_moments(x: torch.Tensor, sizes: torch.Tensor, order: float) -> torch.Tensor:
    """The moment ``(mean |x|ⁿ)^(1/n)`` of each bag: rows (N, d) of n bags of ``sizes`` (n,) -> (n, d).

    Order 1 is the signed mean, and infinity the maximum. An empty bag gives zeros.
    """
    if order == 1:
        return _by_bag(x, sizes, "mean")
    if order == math.inf:
        return _by_bag(x, sizes, "max")
    x = x.abs()
    largest = _by_bag(x, sizes, "max")
    unit = torch.where(largest > 0, largest, 1.0).repeat_interleave(sizes, dim=0)
    return largest * _by_bag((x / unit) ** order, sizes, "mean") ** (1 / order)


def _by_bag(x, sizes, reduce):
    reduced = torch.segment_reduce(x, reduce, lengths=sizes, axis=0, unsafe=True)
    return torch.where(sizes[:, None] > 0, reduced, 0.0)


@declared
class MomentPooling(BagPooling):
    """Base of the poolings that learn nothing. A subclass implements ``_encode`` and ``_n_features_out``."""

    @fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the bags. Nothing is learned.

        Raises
        ------
        ValueError
            If a bag is not numeric or contains NaN or infinity (the message names the bag), or if all bags are empty.
        """
        given = self._read(X, reset=True)
        self._state = {"n_descriptor_features": given.data.values.shape[1], "namespace": given.kind.name}
        return self
