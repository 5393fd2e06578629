"""Generalised mean of a bag's descriptors, from the mean to the maximum (Radenović, Tolias, Chum 2018)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY
from numbers import Real
from typing import Annotated, Any, Self

import numpy as np
import torch

from sklinvariant._compat import fit_context, reports_fit
from sklinvariant._settings import in_own_precision
from sklinvariant.aggregation._aggregator import BagPooling
from sklinvariant.base import Number, declared
from sklinvariant.ops import chunk_rows, take_rows


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
class GeMPooling(BagPooling):
    """Generalised mean of a bag's descriptors: ``(1/m Σ |f|ⁿ)^(1/n)`` of each feature, over the m descriptors.

    A simple pooling without codewords, and a baseline for the other aggregations, in particular on the feature maps of
    a network.

    Parameters
    ----------
    order : float
        Order n, from 1 (the signed mean) to inf (the maximum). Larger orders emphasise the descriptors with the largest
        values.

    See Also
    --------
    SecondOrderPooling : Pools products of two features.
    SpatialPooling : The same moments over the regions of grids, which keeps positions.

    References
    ----------
    Radenović, Tolias, Chum (2018). Fine-tuning CNN image retrieval with no human annotation. Section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import GeMPooling
    >>> bags = [np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 2.0]])]
    >>> GeMPooling(order=1).fit_transform(bags)
    array([[2., 2.],
           [2., 2.]])
    >>> GeMPooling(order=np.inf).fit_transform(bags)
    array([[3., 4.],
           [2., 2.]])
    """

    order: Annotated[float, Number(Real, 1, None, closed="both")] = 3.0
    _: KW_ONLY

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

    def _encode(self, bags, dtype, device):
        values, offsets = bags
        answer = torch.empty(len(offsets) - 1, values.shape[1], dtype=dtype, device=device)
        rows = chunk_rows(values.shape[1], dtype, device, self.chunk_size)
        for first, last in whole_bags(offsets, rows, most=rows):
            x = take_rows(values, int(offsets[first]), int(offsets[last]), answer)
            sizes = torch.from_numpy(np.diff(offsets[first : last + 1])).to(device)
            answer[first:last] = bag_moments(x, sizes, self.order)
        return answer

    @property
    def _n_features_out(self):
        return self._state["n_descriptor_features"]
