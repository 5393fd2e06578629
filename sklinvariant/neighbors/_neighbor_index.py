"""NeighborIndex: what the indexes of codes and of vectors share."""

import os
from typing import Any, Literal, Self

import numpy as np
from scipy.sparse import csr_matrix

from sklinvariant.base import Computing, is_count, load, save


class NeighborIndex(Computing):
    """An index of samples, which are codes or vectors. It can be written to a file and read again.

    A subclass has ``n_samples_fit_`` and these methods, where ``itself`` are the rows that queries exclude, or None:

    - ``_check_queries(X)`` returns the `Input` of X, the queries, and ``itself``;
    - ``_nearest(queries, k, itself)`` returns distances and rows, two arrays (q, k);
    - ``_within(queries, radius, itself)`` returns the query, the distance and the row of each sample that is found,
      also of those to exclude;
    - ``_ids_of(rows)`` returns the ids of rows, and ``_columns_of(rows)`` their columns in graphs.
    """

    _shared_docs = """
        X : array of shape (n_queries, n_features) or None
            Queries, in the format of `fit`. None takes the stored samples, each excluding itself, if they are stored.
        n_neighbors : int or None
            Number of neighbours. None takes the parameter of the estimator.
        radius : float or None
            Largest distance, inclusive. None takes the parameter of the estimator.
        return_distance : bool
            Whether to return the distances.
        sort_results : bool
            Whether to return the nearest first. Otherwise samples are in the order in which they were stored.
        mode : {"connectivity", "distance"}
            Whether the entries are ones or distances.
        """

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index, its parameters and fitted attributes, to a file.

        Parameters
        ----------
        path : str or path-like
            The file to write. An existing file is replaced atomically.
        """
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None = None) -> Self:
        """Read an index that `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.
        mmap_mode : {"r", None}, default=None
            "r" memory-maps codes, vectors, ids and index, so that searches read only what they need (the tables of
            "multihash" are always read). The contents are then not checked against the checksum of the file.

        Returns
        -------
        index
            The index, of this class.

        Raises
        ------
        ValueError
            If the file is damaged, or contains an estimator of another class.
        """
        loaded = load(path, mmap_mode=mmap_mode)
        if not isinstance(loaded, cls):
            raise ValueError(
                f"{path} contains a {type(loaded).__name__}, but {cls.__name__} is required. Use sklinvariant.load."
            )
        return loaded

    def kneighbors(self: Any, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Find the nearest stored samples of each query, nearest first.

        Returns
        -------
        distances : (n_queries, n_neighbors)
            Distances, which for codes are numbers of bits, int32. Only with ``return_distance``.
        ids : (n_queries, n_neighbors) int64
            Ids of the neighbours. Both are tensors if X is a tensor.

        Raises
        ------
        ValueError
            If fewer samples than ``n_neighbors`` are stored.
        """
        given, queries, itself = self._check_queries(X)
        distances, rows = self._nearest(queries, self._check_k(n_neighbors, itself), itself)
        ids = given.answer(self._ids_of(rows))
        return (given.answer(distances), ids) if return_distance else ids

    def kneighbors_graph(
        self: Any, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity"
    ) -> csr_matrix:
        """The neighbours as a sparse graph.

        Returns
        -------
        csr_matrix of shape (n_queries, n_samples)
            Column j is the sample with id ``ids_[j]``.
        """
        _check_mode(mode)
        _, queries, itself = self._check_queries(X)
        distances, rows = self._nearest(queries, self._check_k(n_neighbors, itself), itself)
        limits = np.arange(len(rows) + 1) * rows.shape[1]
        return self._graph(distances.ravel(), rows.ravel(), limits, mode)

    def radius_neighbors(
        self: Any, X: Any = None, radius: float | None = None, return_distance: bool = True, sort_results: bool = False
    ) -> Any:
        """Find all stored samples within a distance of each query, by comparison with all of them.

        Returns
        -------
        distances, ids
            An object array of one array for each query, as in scikit-learn. A list of tensors if X is a tensor.
        """
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        given, queries, itself = self._check_queries(X)
        limits, distances, rows = self._found(queries, radius, itself, sort_results)
        ids = _ragged([given.answer(part) for part in np.split(self._ids_of(rows), limits[1:-1])], given.kind)
        if not return_distance:
            return ids
        return _ragged([given.answer(part) for part in np.split(distances, limits[1:-1])], given.kind), ids

    def radius_neighbors_graph(
        self: Any, X: Any = None, radius: float | None = None, mode: str = "connectivity", sort_results: bool = False
    ) -> csr_matrix:
        """The samples within a distance as a sparse graph.

        Returns
        -------
        csr_matrix of shape (n_queries, n_samples), with the columns of `kneighbors_graph`
        """
        _check_mode(mode)
        _, queries, itself = self._check_queries(X)
        limits, distances, rows = self._found(queries, radius, itself, sort_results)
        return self._graph(distances, rows, limits, mode)

    def _found(
        self: Any, queries: Any, radius: float | None, itself: Any, sort: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Limits (q + 1,), and distances and rows of the samples within the radius of all queries."""
        asked, distances, rows = self._within(queries, radius, itself)
        order = np.lexsort((rows, distances, asked) if sort else (rows, asked))
        if itself is not None:
            order = order[rows[order] != itself[asked[order]]]
        limits = np.cumsum([0, *np.bincount(asked[order], minlength=len(queries))])
        return limits, distances[order], rows[order]

    def _graph(self: Any, distances: np.ndarray, rows: np.ndarray, limits: np.ndarray, mode: str) -> csr_matrix:
        values = distances.astype(np.float64) if mode == "distance" else np.ones(len(rows))
        return csr_matrix((values, self._columns_of(rows), limits), shape=(len(limits) - 1, self.n_samples_fit_))

    def _check_k(self: Any, n_neighbors: int | None, itself: Any) -> int:
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if not is_count(k):
            raise ValueError(f"n_neighbors={k!r} is not valid. Pass an integer of at least 1.")
        n, sign = self.n_samples_fit_, "<=" if itself is None else "<"
        if k > n - (itself is not None):
            raise ValueError(f"Expected n_neighbors {sign} n_samples_fit, but n_neighbors = {k}, n_samples_fit = {n}")
        return int(k)


def _check_mode(mode):
    """Raise a ValueError if this is not a mode of a graph."""
    if mode not in ("connectivity", "distance"):
        raise ValueError(f"mode={mode!r} is unknown. Choose 'connectivity' or 'distance'.")


def _ragged(arrays, kind):
    """Arrays of different lengths in an object array, or as a list if they are tensors."""
    if kind.tensor_device is not None:
        return arrays
    result = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):  # one by one, because np.array would stack arrays of equal length
        result[i] = array
    return result
