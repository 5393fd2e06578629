"""Graphs of neighbours that the user gives, as a sparse matrix or by an estimator that finds neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.sparse import csr_array, issparse
from sklearn.base import clone

from sklinvariant.base import as_numpy, to_numpy


class NeighborGraph(NamedTuple):
    """The neighbours of sample i are ``ends[starts[i] : starts[i + 1]]``, with ``starts`` (n + 1,) and ``ends`` (m,).

    No sample is its own neighbour. A sample may have no neighbours.
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

    def to(self, device: torch.device) -> Self:
        return self._replace(starts=self.starts.to(device), ends=self.ends.to(device))


def read_graph(graph: Any, n: int, name: str = "graph") -> NeighborGraph:
    """The `NeighborGraph` of a sparse matrix (n, n), in which each stored entry of row i is a neighbour of sample i.

    The values of the entries are not used, because a stored 0 is the distance of two equal samples. Own entries, on the
    diagonal, do not count.
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
    rows = graph.tocsr()
    if rows.dtype.kind not in "biuf" or not np.isfinite(rows.data).all():
        broken = " with NaN or infinity" * (rows.dtype.kind in "biuf")
        raise ValueError(
            f"{name} must contain finite real numbers, got dtype {rows.dtype}{broken}. Store only the entries of "
            "neighbours"
        )
    if rows.nnz and not 0 <= rows.indices.min() <= rows.indices.max() < n:
        raise ValueError(f"{name} contains columns outside 0 to {n - 1}. Build it again")
    first = np.arange(n).repeat(np.diff(rows.indptr))
    found = NeighborGraph.of(first, rows.indices, n)
    if not len(found.ends):
        raise ValueError(f"{name} contains no neighbours of other samples. Store an entry for each neighbour")
    return found


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
