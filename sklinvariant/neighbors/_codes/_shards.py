"""Several indexes searched as one, and the nearest neighbours of results from several places."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from sklinvariant.base import NJobs, accepts, in_memory, is_count, n_threads, to_numpy
from sklinvariant.neighbors._codes._exact_search import nearest_of
from sklinvariant.neighbors._codes._hamming_neighbors import HammingNeighbors


def merge_neighbors(
    results: Sequence[tuple[np.ndarray, np.ndarray]], n_neighbors: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbours among the results of several searches for the same queries.

    Each part of a collection can thus be searched by another process or machine. Only distances and ids travel.

    Parameters
    ----------
    results : sequence of (distances, ids)
        What ``kneighbors`` returned for each part: two arrays of shape (n_queries, n), where n may differ.
    n_neighbors : int or None
        Number of neighbours to keep for each query. None keeps as many as the longest result has.

    Returns
    -------
    distances, ids : ndarray of shape (n_queries, n_neighbors)
        Nearest first. At equal distance, the earlier result comes first.

    Raises
    ------
    ValueError
        If there are no results, their shapes do not match, or they contain fewer than ``n_neighbors`` neighbours.

    Examples
    --------
    >>> from sklinvariant.neighbors import merge_neighbors
    >>> distances, ids = merge_neighbors([([[1, 4]], [[10, 11]]), ([[2, 3]], [[20, 21]])])
    >>> distances.tolist(), ids.tolist()
    ([[1, 2]], [[10, 20]])
    """
    arrays = [(np.asarray(to_numpy(distances)), np.asarray(to_numpy(ids))) for distances, ids in results]
    if not arrays:
        raise ValueError("results is empty, but at least one pair (distances, ids) is required.")
    for distances, ids in arrays:
        if distances.ndim != 2 or distances.shape != ids.shape or len(ids) != len(arrays[0][1]):
            raise ValueError(
                f"results contains distances of shape {distances.shape} and ids of shape {ids.shape}, but all must be "
                f"of shape ({len(arrays[0][1])}, n). Search for the same queries everywhere."
            )
    found = sum(ids.shape[1] for _, ids in arrays)
    k = max(ids.shape[1] for _, ids in arrays) if n_neighbors is None else n_neighbors
    if n_neighbors is not None and (not is_count(k) or k > found):
        raise ValueError(
            f"n_neighbors={k!r} is not valid. Pass an integer from 1 to {found}, the number of neighbours in results."
        )
    return nearest_of(arrays, k)


class HammingShards:
    """Several indexes of `HammingNeighbors`, usually files, searched as one.

    Parameters
    ----------
    shards : sequence of paths or HammingNeighbors
        Files written by `HammingNeighbors.save`, which are memory-mapped, or fitted indexes. Their codes must have the
        same length.
    n_jobs : int or None, default=None
        Number of shards searched at the same time, in threads. None searches one after the other. Each search uses as
        many threads of faiss as ``n_jobs`` of its index allows.

    Attributes
    ----------
    shards_ : list of HammingNeighbors
        The indexes.
    n_samples_fit_ : int
        Number of codes in all shards.

    Notes
    -----
    Ids must be unique across shards; this is not checked, because it would read all ids. If no ids
    were passed to a shard, its ids are shifted to continue after the largest id of the shards before it, as in
    `HammingNeighbors.merge`. The shards may be of different kinds (``index``).

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.neighbors import HammingNeighbors, HammingShards
    >>> codes = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    >>> shards = HammingShards([HammingNeighbors().fit(codes), HammingNeighbors().fit(1 - codes)])
    >>> shards.kneighbors([[0, 0, 0, 0], [1, 1, 0, 0]], n_neighbors=1)[1].tolist()
    [[0], [4]]
    """

    def __init__(self, shards: Sequence[str | os.PathLike | HammingNeighbors], *, n_jobs: int | None = None) -> None:
        if isinstance(shards, (str, os.PathLike, HammingNeighbors)) or not (shards := list(shards)):
            raise ValueError(f"shards is {shards!r}, but a sequence of at least one path or index is required.")
        if not accepts(NJobs, n_jobs):
            raise ValueError(f"n_jobs={n_jobs!r} is not valid. Pass a positive integer, -1 for all cores, or None.")
        self.n_jobs = n_jobs
        self.shards_ = [
            shard if isinstance(shard, HammingNeighbors) else HammingNeighbors.load(shard, mmap_mode="r")
            for shard in shards
        ]
        self._first_ids, next_id = [], 0
        for i, shard in enumerate(self.shards_):
            check_is_fitted(shard)
            if (shard.packed, shard.n_features_in_) != (self.shards_[0].packed, self.shards_[0].n_features_in_):
                raise ValueError(
                    f"shard {i} has {shard.n_features_in_} features with packed={shard.packed}, but shard 0 has "
                    f"{self.shards_[0].n_features_in_} with packed={self.shards_[0].packed}. All must have codes of "
                    "the same length."
                )
            self._first_ids.append(0 if shard._has_own_ids() else next_id)
            next_id = max(next_id, self._first_ids[-1] + shard._state["next_id"])

    @property
    def n_samples_fit_(self) -> int:
        return sum(shard.n_samples_fit_ for shard in self.shards_)

    def kneighbors(self, X: Any, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Find the nearest codes of each query in all shards, nearest first.

        Parameters
        ----------
        X : array of shape (n_queries, n_bits), or packed
            Codes as in `HammingNeighbors.fit`.
        n_neighbors : int or None
            Number of neighbours. None takes ``n_neighbors`` of the first shard.
        return_distance : bool
            Whether to return the distances.

        Returns
        -------
        distances : (n_queries, n_neighbors) int32
            Numbers of bits that differ; only with ``return_distance``.
        ids : (n_queries, n_neighbors) int64
            Ids of the neighbours. Both are tensors if X is a tensor.

        Raises
        ------
        ValueError
            If X is not valid, or all shards together contain fewer codes than ``n_neighbors``.
        """
        given = self.shards_[0]._read(*in_memory([X]))
        k = self.shards_[0].n_neighbors if n_neighbors is None else n_neighbors
        if not is_count(k) or k > self.n_samples_fit_:
            raise ValueError(
                f"n_neighbors={k!r} is not valid. Pass an integer from 1 to {self.n_samples_fit_}, the number of codes."
            )
        jobs = 1 if self.n_jobs is None else n_threads(self.n_jobs)
        searches = zip(self.shards_, self._first_ids, strict=True)
        results = Parallel(jobs, prefer="threads")(delayed(_search)(*one, given.data, int(k)) for one in searches)
        distances, ids = merge_neighbors(results, k)
        return (given.answer(distances), given.answer(ids)) if return_distance else given.answer(ids)


def _search(shard, first_id, queries, k):
    """The neighbours of packed queries in a shard, at most as many as it has."""
    distances, rows = shard._nearest(queries, min(k, shard.n_samples_fit_), None)
    return distances, shard._ids_of(rows) + first_id
