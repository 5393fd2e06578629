"""Graphs of neighbours that the user gives, as a sparse matrix or by an estimator that finds neighbours."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import torch
from scipy.sparse import csr_array, issparse
from sklearn.base import clone

from sklinvariant._compat import HasMethods
from sklinvariant.base import Parameters, as_numpy, declared, to_numpy


class NeighborGraph(NamedTuple):
    """The neighbours of each of n samples.

    No sample is its own neighbour. A sample may have no neighbours.

    Parameters
    ----------
    starts : int64 tensor of shape (n + 1,)
        Where the neighbours of each sample begin in ``ends``: those of sample i are ``ends[starts[i]:starts[i + 1]]``.
    ends : int64 tensor of shape (m,)
        Indices of the neighbours of all samples.
    """

    starts: torch.Tensor
    ends: torch.Tensor

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray, n: int) -> Self:
        """The graph of n samples in which ``second[j]`` is a neighbour of ``first[j]``, which is sorted."""
        others = first != second
        starts = np.concatenate([[0], np.bincount(first[others], minlength=n).cumsum()])
        return cls(torch.as_tensor(starts), torch.as_tensor(second[others].astype(np.int64)))

    def without(self, auxiliary: torch.Tensor) -> Self:
        """The graph in which samples that are not ``auxiliary`` (n,) have no auxiliary neighbours."""
        auxiliary = auxiliary.to(self.starts.device)
        first = torch.arange(len(auxiliary)).repeat_interleave(self.starts.diff())
        keep = auxiliary[first] | ~auxiliary[self.ends]
        return self.of(first[keep].numpy(), self.ends[keep].numpy(), len(auxiliary))

    def among(self, index: torch.Tensor) -> torch.Tensor:
        """Which of the samples ``index`` (m,), in ascending order, are neighbours of each of them, a mask (m, m)."""
        starts, degrees = self.starts[index], self.starts[index + 1] - self.starts[index]
        first = torch.arange(len(index), device=index.device).repeat_interleave(degrees)
        before = degrees.cumsum(0) - degrees
        edges = torch.arange(len(first), device=index.device) + (starts - before)[first]
        ends = self.ends[edges]
        places = torch.searchsorted(index, ends).clamp_max(len(index) - 1)
        inside = index[places] == ends
        near = torch.zeros(len(index), len(index), dtype=torch.bool, device=index.device)
        near[first[inside], places[inside]] = True
        return near

    def to(self, device: torch.device) -> Self:
        """The same graph on a device."""
        return self._replace(starts=self.starts.to(device), ends=self.ends.to(device))


def read_graph(graph: Any, n: int, name: str = "graph") -> NeighborGraph:
    """The `NeighborGraph` of a sparse matrix (n, n), in which each stored entry of row i is a neighbour of sample i.

    The values of the entries are not used, because a stored 0 is the distance of two equal samples, except in the
    blocks of the format BSR, which zeros fill. Own entries, on the diagonal, do not count. Neither the order of the
    entries of a row nor repeated entries make a difference.
    """
    if not issparse(graph):
        raise ValueError(
            f"{name} must be a sparse matrix of scipy, got {type(graph).__name__}. Pass one as from "
            "sklearn.neighbors.kneighbors_graph, or scipy.sparse.csr_array(array)"
        )
    if graph.shape != (n, n):
        sliced = graph.ndim == 2 and graph.shape[0] == n
        hint = (
            "Cross-validation takes a part of the rows of a graph, but all columns. Set neighbors to an estimator, "
            "which is fitted to each part"
            if sliced
            else "Pass the graph of the rows of X"
        )
        raise ValueError(f"{name} must have shape ({n}, {n}) for {n} samples, got {graph.shape}. {hint}")
    _check_structure(graph, name)  # before scipy converts it, which would access memory outside of the matrix
    rows = graph.tocsr()
    _check_structure(rows, name)  # some formats are lists, which scipy converts as they are
    rows = csr_array((rows.data, rows.indices, rows.indptr), shape=(n, n), copy=True)
    if graph.format == "bsr":
        rows.eliminate_zeros()  # which fill its blocks
    rows.sum_duplicates()
    if rows.dtype.kind not in "biuf" or not np.isfinite(rows.data).all():
        broken = " with NaN or infinity" * (rows.dtype.kind in "biuf")
        raise ValueError(
            f"{name} must contain finite real numbers, got dtype {rows.dtype}{broken}. Store only the entries of "
            "neighbours"
        )
    first = np.arange(n).repeat(np.diff(rows.indptr))
    found = NeighborGraph.of(first, rows.indices, n)
    if not len(found.ends):
        raise ValueError(f"{name} contains no neighbours of other samples. Store an entry for each neighbour")
    return found


def _check_structure(graph, name):
    """Raise a ValueError if the arrays of a sparse matrix do not describe a matrix of its shape."""
    if graph.format == "coo":
        _check_places(graph.row, graph.shape[0], name, "rows")
        _check_places(graph.col, graph.shape[1], name, "columns")
    elif graph.format in ("csr", "csc", "bsr"):
        n_starts, n_places = np.divide(graph.shape, getattr(graph, "blocksize", 1)).astype(int)
        starts, stored = graph.indptr, min(len(graph.indices), len(graph.data))
        if len(starts) != n_starts + 1 or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > stored:
            raise ValueError(
                f"{name} is damaged: its indptr should have {n_starts + 1} numbers that rise from 0 to at most "
                f"{stored}, the number of stored entries. Build it again"
            )
        what = "rows" if graph.format == "csc" else "columns"
        _check_places(graph.indices[: starts[-1]], n_places, name, what)


def _check_places(places, n, name, what):
    if len(places) and not 0 <= places.min() <= places.max() < n:
        raise ValueError(f"{name} contains {what} outside 0 to {n - 1}. Build it again")


def search_graph(estimator: Any, rows: np.ndarray) -> NeighborGraph:
    """The `NeighborGraph` of rows (n, d) that a clone of an estimator finds.

    The estimator has, in the order in which they are tried, ``kneighbors_graph()``, which finds neighbours of its own
    rows, ``kneighbors(X, return_distance=False)``, whose indices may contain the row itself and -1 for a missing
    neighbour, or ``fit_transform(X)``, which returns a sparse graph.
    """
    search, n, name = clone(estimator), len(rows), type(estimator).__name__
    if hasattr(search, "kneighbors_graph"):
        return read_graph(search.fit(rows).kneighbors_graph(), n, f"the graph of {name}")
    if not hasattr(search, "kneighbors"):
        return read_graph(search.fit_transform(rows), n, f"the graph of {name}")
    found = as_numpy(to_numpy(search.fit(rows).kneighbors(rows, return_distance=False)))
    if found.ndim != 2 or len(found) != n or found.dtype.kind not in "iu":
        raise ValueError(
            f"kneighbors of {name} must return indices of {n} rows, as an array ({n}, k) of integers from 0 to {n - 1} "
            f"or -1, got dtype {found.dtype} and shape {found.shape}"
        )
    if found.max(initial=-1) >= n:
        raise ValueError(f"kneighbors of {name} returned {found.max()}. Return indices from 0 to {n - 1}, or -1")
    first = np.arange(n).repeat(found.shape[1])[found.ravel() >= 0]
    return read_graph(_matrix(first, found[found >= 0], n), n, f"the graph of {name}")


def _matrix(first, second, n):
    return csr_array((np.ones(len(first), bool), (first, second)), shape=(n, n))


@declared
class WithNeighbors(Parameters):
    """The settings of estimators that form pairs of neighbours with ``pairs="neighbors"``.

    Parameters
    ----------
    neighbors : estimator or None
        Finds the neighbours for "neighbors" instead, and sets their number. A clone is fitted to X as it is given, as
        flat rows, not scaled. It has ``kneighbors``, as `sklearn.neighbors.NearestNeighbors`, or ``fit_transform``
        returns a sparse graph, as of a Pipeline that ends with `sklearn.neighbors.KNeighborsTransformer`. To use a
        graph that you have already, pass it to `fit`.
    """

    _shared_docs = """
        graph : sparse matrix of shape (n, n), default=None
            The neighbours of the rows of X for ``pairs="neighbors"``, such as from
            `sklearn.neighbors.kneighbors_graph`. They are not searched then. Each stored entry of row i, also a 0, is a
            neighbour of sample i, except the zeros in the formats BSR and DIA, which fill their blocks and diagonals.
            Values and entries on the diagonal do not count. Edges lead from rows to columns only. Samples without
            neighbours form no pairs. In a cross-validation, which takes parts of X, set ``neighbors`` instead.
        """
    _: KW_ONLY
    neighbors: (
        Annotated[Any, HasMethods(["fit", "kneighbors"])] | Annotated[Any, HasMethods("fit_transform")] | None
    ) = None

    def _given_graph(self, samples: torch.Tensor, kind: Any, graph: Any) -> NeighborGraph | None:
        """The graph of the samples that is given or that ``neighbors`` finds, or None; ``kind`` is that of pairs."""
        if graph is not None and kind != "neighbors":
            raise ValueError(f'graph contains neighbours, but pairs is {kind!r}. Set pairs="neighbors", or graph=None')
        if self.neighbors is not None and kind != "neighbors":
            raise ValueError(
                f'neighbors finds neighbours, but pairs is {kind!r}. Set pairs="neighbors", or neighbors=None'
            )
        if graph is not None:
            return read_graph(graph, len(samples))
        if self.neighbors is not None:
            return search_graph(self.neighbors, to_numpy(samples.flatten(1)))
        return None
