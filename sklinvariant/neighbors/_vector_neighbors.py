"""VectorNeighbors: the searches of `EmbeddingNeighbors` and `QuantizedNeighbors`."""

from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix

from sklinvariant._compat import fit_context
from sklinvariant.base import TorchEstimator, accepts, as_numpy
from sklinvariant.neighbors._hamming_neighbors import check_mode, ragged
from sklinvariant.neighbors._indexed_codes import Radius
from sklinvariant.neighbors._neighbor_index import NeighborIndex
from sklinvariant.neighbors._stored_codes import check_ids, rows_of_ids, whole_numbers

_LONGEST = 1e18  # distance; its square is a float32
_SEARCHED_AT_ONCE = 16  # queries, because Ctrl-C has no effect during a call; faiss computes those of 20 less precisely


def beyond_square(distance: float) -> float:
    """The smallest float32 that is larger than the square of a distance; far below infinity."""
    return float(np.nextafter(np.float32(min(distance, _LONGEST) ** 2), np.float32(np.inf)))


class VectorNeighbors(NeighborIndex, TorchEstimator):
    """Neighbours among stored vectors.

    The state of a subclass contains ``n`` (the number of vectors), ``ids`` (None for row numbers) and ``next_id``. Its
    `_append` and `_keep` change what it stores, and its `_nearest` searches.

    Parameters
    ----------
    n_neighbors : int
        Number of neighbours to return for each query.
    radius : float
        Distance within which `radius_neighbors` returns all vectors.

    Attributes
    ----------
    ids_ : ndarray of shape (n_samples,), int64
        The id of each stored vector.
    n_samples_fit_ : int
        Number of stored vectors.
    """

    _shared_docs = """
        ids : array-like of n integers or None
            Unique ids of the vectors, which searches return. None continues after the largest id, and takes the row
            numbers if there is none.
        X : array of shape (n_queries, n_features) or None
            Vectors. None takes the stored ones, each excluding itself, if they are stored.
        n_neighbors : int or None
            Number of neighbours. None takes the parameter of the estimator.
        radius : float or None
            Largest distance. None takes the parameter of the estimator.
        return_distance : bool
            Whether to return the distances.
        sort_results : bool
            Whether to return the nearest first.
        mode : {"connectivity", "distance"}
            Whether the entries are ones or distances.
        """

    n_neighbors: int
    radius: float

    @property
    def ids_(self) -> np.ndarray:
        return self._ids_of(np.arange(self.n_samples_fit_))

    @property
    def n_samples_fit_(self) -> int:
        self._check_fitted()
        return self._state["n"]

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Add vectors to the stored ones. What `fit` has learned does not change.

        Parameters
        ----------
        X : array of shape (n_added, n_features)
            Vectors.
        """
        if not hasattr(self, "_state"):
            return self.fit(X, ids=ids)
        rows, state = as_numpy(self._read(X).data), dict(self._state)
        ids, next_id = check_ids(ids, len(rows), state["next_id"])
        if ids is not None and len(known := rows_of_ids(ids, state["ids"], None, state["n"])):
            raise ValueError(f"id {self._ids_of(known)[0]} is already stored, but ids must be unique. Pass new ids.")
        if ids is not None or state["ids"] is not None:
            ids = np.arange(state["next_id"], next_id) if ids is None else ids
            state["ids"] = np.concatenate([self.ids_, ids])
        self._append(rows, state)
        self._state = {**state, "n": state["n"] + len(rows), "next_id": max(next_id, state["next_id"])}
        return self

    def remove(self, ids: Any) -> Self:
        """Remove vectors. What remains is copied or built again, so remove many at a time.

        Parameters
        ----------
        ids : int or array-like of int
            Ids of stored vectors, but not of all.

        Raises
        ------
        ValueError
            If an id is not stored, or no vector would remain. In this case nothing is removed.
        """
        ids, state = np.unique(whole_numbers(np.atleast_1d(ids))), dict(self._state)
        rows = rows_of_ids(ids, state["ids"], None, state["n"])
        if len(rows) < len(ids):
            unknown = np.setdiff1d(ids, self._ids_of(rows))[0]
            raise ValueError(f"id {unknown} is not stored, but only stored vectors can be removed. See ids_.")
        if len(rows) == state["n"]:
            raise ValueError(
                f"ids contains all {state['n']} stored ids, but one must remain. Fit other vectors instead."
            )
        if len(rows):
            kept = np.delete(np.arange(state["n"]), rows)
            self._keep(kept, state)
            self._state = {**state, "n": len(kept), "ids": self._ids_of(kept)}
        return self

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Find the nearest stored vectors of each query, nearest first.

        Returns
        -------
        distances : (n_queries, n_neighbors)
            Distances. Only with ``return_distance``.
        ids : (n_queries, n_neighbors) int64
            Ids of the neighbours. Both are tensors if X is a tensor.

        Raises
        ------
        ValueError
            If fewer vectors than ``n_neighbors`` are stored.
        """
        given, queries, itself = self._check_queries(X)
        distances, rows = self._nearest(queries, self._check_k(n_neighbors, itself), itself)
        ids = given.answer(self._ids_of(rows))
        return (given.answer(distances), ids) if return_distance else ids

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity") -> csr_matrix:
        """The neighbours as a sparse graph.

        Returns
        -------
        csr_matrix of shape (n_queries, n_samples)
            Column j is the vector with id ``ids_[j]``.
        """
        check_mode(mode)
        _, queries, itself = self._check_queries(X)
        distances, rows = self._nearest(queries, self._check_k(n_neighbors, itself), itself)
        limits = np.arange(len(rows) + 1) * rows.shape[1]
        return self._graph(distances.ravel(), rows.ravel(), limits, mode)

    def radius_neighbors(
        self, X: Any = None, radius: float | None = None, return_distance: bool = True, sort_results: bool = False
    ) -> Any:
        """Find all stored vectors within a distance of each query, by comparison with all of them.

        Returns
        -------
        distances, ids
            An object array of one array for each query, as in scikit-learn. A list of tensors if X is a tensor.
        """
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        given, queries, itself = self._check_queries(X)
        limits, distances, rows = self._within(queries, radius, itself, sort_results)
        ids = ragged([given.answer(part) for part in np.split(self._ids_of(rows), limits[1:-1])], given.kind)
        if not return_distance:
            return ids
        return ragged([given.answer(part) for part in np.split(distances, limits[1:-1])], given.kind), ids

    def radius_neighbors_graph(
        self, X: Any = None, radius: float | None = None, mode: str = "connectivity", sort_results: bool = False
    ) -> csr_matrix:
        """The vectors within a distance as a sparse graph, whose columns are those of `kneighbors_graph`."""
        check_mode(mode)
        _, queries, itself = self._check_queries(X)
        limits, distances, rows = self._within(queries, radius, itself, sort_results)
        return self._graph(distances, rows, limits, mode)

    def _graph(self, distances, rows, limits, mode):
        values = distances.astype(np.float64) if mode == "distance" else np.ones(len(rows))
        return csr_matrix((values, rows, limits), shape=(len(limits) - 1, self.n_samples_fit_))

    def _within(self, queries, radius, itself, sort_results):
        """Limits (q + 1,), and the distances and rows of all queries, excluding the rows ``itself``."""
        queries, limit = self._for_faiss(queries, itself), self._to_faiss(self._check_radius(radius))
        found = []
        for first, index in self._indexes_of_blocks():
            for start in range(0, len(queries), _SEARCHED_AT_ONCE):
                limits, values, rows = index.range_search(queries[start : start + _SEARCHED_AT_ONCE], limit)
                asked = start + np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64))
                found.append((asked, self._from_faiss(values), rows + first))
        asked, distances, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((rows, distances, asked) if sort_results else (rows, asked))
        if itself is not None:
            order = order[rows[order] != itself[asked[order]]]
        limits = np.cumsum([0, *np.bincount(asked[order], minlength=len(queries))])
        return limits, distances[order], rows[order]

    def _ids_of(self, rows):
        return rows if self._state["ids"] is None else self._state["ids"][rows]

    def _check_fitted(self):
        if not hasattr(self, "_state"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet. Call fit first.")

    def _append(self, rows, state):
        """Store more vectors, and change the state accordingly."""
        raise NotImplementedError

    def _keep(self, rows, state):
        """Store these rows of the vectors alone, and change the state accordingly."""
        raise NotImplementedError

    def _check_queries(self, X):
        """The `Input` of the queries, their rows, and the row numbers to exclude."""
        raise NotImplementedError

    def _nearest(self, queries, k, itself):
        """Distances and rows of the k nearest vectors, excluding the rows ``itself``."""
        raise NotImplementedError

    def _indexes_of_blocks(self):
        """For each block of the stored vectors: the number of its first row, and an index of faiss."""
        raise NotImplementedError

    def _for_faiss(self, queries, itself):
        """Queries for these indexes, float32."""
        raise NotImplementedError

    def _to_faiss(self, distance):
        """The smallest or largest value of faiss that is beyond a distance."""
        raise NotImplementedError

    def _from_faiss(self, values):
        """Distances, from values of faiss."""
        raise NotImplementedError

    def _check_radius(self, radius):
        radius = self.radius if radius is None else radius
        if not accepts(Radius, radius):
            raise ValueError(f"radius={radius!r} is not valid. Pass a distance of at least 0, or infinity.")
        return float(radius)
