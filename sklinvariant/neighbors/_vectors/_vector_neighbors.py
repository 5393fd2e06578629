"""VectorNeighbors: the searches of `EmbeddingNeighbors` and `QuantizedNeighbors`."""

from typing import Any, Self

import numpy as np

from sklinvariant._compat import fit_context
from sklinvariant.base import TorchEstimator, accepts, as_numpy
from sklinvariant.neighbors._codes._indexed_codes import Radius
from sklinvariant.neighbors._codes._stored_codes import check_ids, rows_of_ids, whole_numbers
from sklinvariant.neighbors._neighbor_index import NeighborIndex

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

    def _within(self, queries, radius, itself):
        """The query, distance and row of each vector within the radius of a query, also of those to exclude."""
        queries, limit = self._for_faiss(queries, itself), self._to_faiss(self._check_radius(radius))
        found = []
        for first, index in self._indexes_of_blocks():
            for start in range(0, len(queries), _SEARCHED_AT_ONCE):
                limits, values, rows = index.range_search(queries[start : start + _SEARCHED_AT_ONCE], limit)
                asked = start + np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64))
                found.append((asked, self._from_faiss(values), rows + first))
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _columns_of(self, rows):
        return rows

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
