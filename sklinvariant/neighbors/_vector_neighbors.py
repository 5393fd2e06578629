"""VectorNeighbors: the searches of `EmbeddingNeighbors` and `QuantizedNeighbors`."""

from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix

from sklinvariant._compat import fit_context
from sklinvariant.base import TorchEstimator, as_numpy, is_count
from sklinvariant.neighbors._hamming_neighbors import check_mode
from sklinvariant.neighbors._stored_codes import check_ids, rows_of_ids, whole_numbers


class VectorNeighbors(TorchEstimator):
    """Neighbours among stored vectors.

    The state of a subclass contains ``n`` (the number of vectors), ``ids`` (None for row numbers) and ``next_id``. Its
    `_append` and `_keep` change what it stores, and its `_nearest` searches.

    Parameters
    ----------
    n_neighbors : int
        Number of neighbours to return for each query.

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
        return_distance : bool
            Whether to return the distances.
        """

    n_neighbors: int

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

        Parameters
        ----------
        mode : {"connectivity", "distance"}
            Ones, or distances.

        Returns
        -------
        csr_matrix of shape (n_queries, n_samples)
            Column j is the vector with id ``ids_[j]``.
        """
        check_mode(mode)
        _, queries, itself = self._check_queries(X)
        distances, rows = self._nearest(queries, self._check_k(n_neighbors, itself), itself)
        values = distances.ravel() if mode == "distance" else np.ones(rows.size)
        limits = np.arange(len(rows) + 1) * rows.shape[1]
        return csr_matrix((values.astype(np.float64), rows.ravel(), limits), shape=(len(rows), self.n_samples_fit_))

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

    def _check_k(self, n_neighbors, itself):
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if not is_count(k):
            raise ValueError(f"n_neighbors={k!r} is not valid. Pass an integer of at least 1.")
        n, sign = self.n_samples_fit_, "<=" if itself is None else "<"
        if k > n - (itself is not None):
            raise ValueError(f"Expected n_neighbors {sign} n_samples_fit, but n_neighbors = {k}, n_samples_fit = {n}")
        return int(k)
