"""Moments of feature maps over the cells of grids: the spatial pyramid (Lazebnik, Schmid, Ponce 2006).

The baseline of auto-pooling (Sukhbaatar et al. 2013, table 1: grids of 2×2, 3×3, 4×4, and several grids together).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY
from functools import partial
from numbers import Real
from typing import Annotated, Any, Self

import torch
from sklearn.base import TransformerMixin

from sklinvariant._compat import CallbackSupportMixin, fit_context, reports_fit
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import (
    Function,
    Number,
    OnDevice,
    RowFeaturesOutMixin,
    RowReader,
    TorchEstimator,
    Whole,
    declared,
    is_count,
)
from sklinvariant.ops import CACHE_BYTES, chunk_bytes, concatenated, moment


def cut(length: int, parts: int) -> list[tuple[int, int]]:
    """Split a side into non-empty parts (first, last), half open, whose lengths differ by at most one.

    If the side is not divisible by the number of parts, neighbouring parts share a cell, as in torch's adaptive
    pooling.
    """
    return [(i * length // parts, -(-(i + 1) * length // parts)) for i in range(parts)]


def pool_grids(maps: torch.Tensor, grids: Sequence[tuple[int, int]], order: float) -> torch.Tensor:
    """Moments of k features over the regions of grids, row by row: (n, h, w, k) -> (n, Σ rows·columns · k).

    The moment of a region is the moment of its columns' moments, which all regions of a row share.
    """
    pooled = []
    for rows, columns in grids:
        for top, bottom in cut(maps.shape[1], rows):
            strip = moment(maps[:, top:bottom], order, 1)  # (n, w, k)
            pooled += [moment(strip[:, left:right], order, 1) for left, right in cut(maps.shape[2], columns)]
    return torch.cat(pooled, dim=1)


class MapReader(RowReader):
    """Reads feature maps (n, h, w, k), also as bags of equal size and as flat rows, of an estimator's ``map_shape``."""

    needs = "feature maps"
    three_d_array = True
    takes_bags = True

    def _check(self, estimator, X, kind, reset):
        if isinstance(X, DescriptorSets):
            if X.shape[1] is None:
                raise ValueError(
                    "X has bags of different sizes, but each bag must contain the cells of a map of one size. Resize "
                    "the images before extracting features."
                )
            X = X.values.reshape(X.shape)
        shape = tuple(getattr(X, "shape", ()))
        cells = None if estimator.map_shape is None else _pair(estimator.map_shape, "map_shape")
        if len(shape) == 3 and 0 not in shape:
            h, w = _square(shape[1]) if cells is None else cells
            if h * w != shape[1]:
                raise ValueError(
                    f"X has bags of {shape[1]} cells, but map_shape={estimator.map_shape} requires {h * w}. Change "
                    "map_shape."
                )
            X = X.reshape(shape[0], -1)
        elif len(shape) == 4:
            h, w = shape[1:3]
        else:
            h, w = (1, 1) if cells is None else cells
        given = super()._check(estimator, X, kind, reset)
        n, n_features = given.data.shape
        if n_features % (h * w):
            raise ValueError(
                f"X has rows of {n_features} features, but map_shape={estimator.map_shape} requires a multiple "
                f"of {h * w}. Change map_shape."
            )
        given.data = given.data.reshape(n, h, w, -1)
        return given


@declared
class SpatialPooling(OnDevice, CallbackSupportMixin, RowFeaturesOutMixin, TransformerMixin, TorchEstimator):
    r"""Pool feature maps to vectors: a moment of each feature over each region of one or more grids.

    For the values f of a feature in the m cells of a region and the order n, the moment is

    .. math:: \left(\frac{1}{m} \sum_{i=1}^m |f_i|^n\right)^{1/n}

    Parameters
    ----------
    grids : sequence of (rows, columns)
        Each grid divides a map into rows × columns regions of nearly equal size. If a side is not divisible,
        neighbouring regions share a line of cells. Finer grids preserve more spatial information and give more output
        features. ``(1, 1)`` is the whole map; a grid as fine as the map flattens it.
    order : float
        Order n of the moment, from 1 (the signed mean) to inf (the maximum).
    map_shape : (int, int) or None
        Rows and columns of maps passed as flat rows or as bags of cells. None treats bags as square maps, and a flat
        row as a map of one cell.

    Attributes
    ----------
    n_features_in_ : int
        Number of values in a map.

    See Also
    --------
    AutoPooling : Learns from video what to pool.

    References
    ----------
    Lazebnik, Schmid, Ponce (2006). Beyond bags of features: spatial pyramid matching.
    Sukhbaatar, Makino, Aihara (2013). Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences. Table 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.pooling import SpatialPooling
    >>> maps = np.arange(32.0).reshape(1, 4, 4, 2)
    >>> SpatialPooling([(1, 1), (2, 2)], order=np.inf).fit_transform(maps)
    array([[30., 31., 10., 11., 14., 15., 26., 27., 30., 31.]])
    """

    _reader = MapReader()
    _layout = {
        "n_features_out": Whole(1, 1 << 24),
        "n_map_features": Whole(),
    }
    grids: list | tuple = ((2, 2), (3, 3))
    _: KW_ONLY
    order: Annotated[float, Number(Real, 1, None, closed="both")] = 1
    map_shape: list | tuple | None = None

    @fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the maps. Nothing is learned.

        Parameters
        ----------
        X : array of shape (n, h, w, k), DescriptorSets, (n, m, k) or (n, n_features)
            Feature maps, bags of the cells of maps, or flat rows. Maps have their channels last: transpose the
            (n, k, h, w) of a network of torch.

        Raises
        ------
        ValueError
            If the grids are not valid, if X contains NaN, or if X does not match ``map_shape``.
        """
        grids = [_pair(grid, "each of grids") for grid in self.grids]
        if not grids:
            raise ValueError("grids is empty, but at least one grid is required. Pass a list of (rows, columns).")
        given = self._read(X, reset=True)
        maps = given.data
        self._state = {
            "n_features_out": sum(rows * columns for rows, columns in grids) * maps.shape[-1],
            "n_map_features": maps.shape[-1],
            "namespace": given.kind.name,
        }
        return self

    def transform(self, X: Any) -> Any:
        """Pool feature maps.

        Returns
        -------
        array of shape (n, Σ rows · columns · k)
            The k features of each region, ordered by grid, row and column, with the array type, device and precision of
            X.
        """
        given = self._read(X)
        maps, device = given.data, given.device
        if maps.shape[-1] != self._state["n_map_features"]:
            raise ValueError(
                f"X has maps of {maps.shape[-1]} features, but {type(self).__name__} was fitted with "
                f"{self._state['n_map_features']}. Pass maps from the same extractor."
            )
        grids = [_pair(grid, "each of grids") for grid in self.grids]
        at_once = max(1, chunk_bytes(CACHE_BYTES, device) // (maps[0].numel() * maps.itemsize))
        parts = (part.to(device, given.dtype) for part in maps.split(at_once))
        return given.answer(concatenated((pool_grids(part, grids, self.order) for part in parts), len(maps)))

    def _modules_of_methods(self, dtype):
        grids = [_pair(grid, "each of grids") for grid in self.grids]
        return {"transform": lambda: Function(partial(pool_grids, grids=grids, order=self.order))}

    @property
    def _n_features_out(self):
        return self._state["n_features_out"]


def _pair(value, name):
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if len(sizes) != 2 or not all(map(is_count, sizes)):
        raise ValueError(f"{name} must be two positive integers, but got {value!r}. Pass (rows, columns).")
    return sizes


def _square(n_cells):
    side = math.isqrt(n_cells)
    if side * side != n_cells:
        raise ValueError(
            f"X has bags of {n_cells} cells, but without map_shape a square number is required. Set map_shape=(rows, "
            "columns)."
        )
    return side, side
