"""Measures of a ranking: average precision, with the junk of the Oxford buildings; recall at k; UKBench's score.

Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", 2007; Nistér & Stewénius,
"Scalable recognition with a vocabulary tree", 2006.

A ranking is (n_queries, k): the ids of the neighbours of each query, best first; -1 stands for none. What is relevant
is told by a list of ids for each query, or by a matrix (n_queries, n_database): of booleans, or a sparse one.
Junk is told in the same way: it is taken out of the ranking before anything is counted, as if it were not there.
Where the query itself is in the database it is junk to itself.
"""

from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklinvariant._settings import with_own_settings
from sklinvariant.base import is_count, to_numpy


@with_own_settings
def average_precision(ranking: Any, relevant: Any, *, junk: Any = None, interpolation: str = "step") -> np.ndarray:
    """Average precision of each query: the area under its precision-recall curve.

    With h(j) relevant ones among the first j, junk left out, and R relevant ones in all, "step" is
    ``(1/R) Σ_j [j is relevant] h(j)/j``, as in scikit-learn, and "trapezoid" takes for each the mean of the precision
    there and just before, ``(h(j)/j + h(j-1)/(j-1)) / 2``, that of rank 0 being 1, as the program of the Oxford
    buildings does. A relevant one that the ranking does not reach adds nothing.

    Parameters
    ----------
    ranking : array-like of shape (n_queries, k), int
        Ids of the neighbours, best first; -1 for none.
    relevant : list of n_queries array-likes of ids, or boolean or sparse matrix of shape (n_queries, n_database)
        What should be found. What is junk too is junk.
    junk : as relevant, or None, default=None
        What is neither right nor wrong: taken out of the ranking.
    interpolation : {"step", "trapezoid"}, default="step"

    Returns
    -------
    ndarray of shape (n_queries,)
        Between 0 and 1; NaN for a query to which nothing is relevant.

    Examples
    --------
    >>> from sklinvariant.metrics import average_precision
    >>> average_precision([[3, 0, 1, 2]], [[3, 1]])
    array([0.83333333])
    >>> average_precision([[3, 0, 1, 2]], [[3, 1]], junk=[[0]])
    array([1.])
    """
    if interpolation not in ("step", "trapezoid"):
        raise ValueError(f"interpolation must be 'step' or 'trapezoid', got {interpolation!r}")
    values = []
    for hits, n_relevant in _hits(ranking, relevant, junk):
        found = np.cumsum(hits)
        precision = found / np.arange(1, len(hits) + 1)
        if interpolation == "trapezoid":
            precision = (precision + np.concatenate([[1.0], precision[:-1]])) / 2
        values.append(precision[hits].sum() / n_relevant if n_relevant else np.nan)
    return np.array(values)


@with_own_settings
def mean_average_precision(ranking: Any, relevant: Any, *, junk: Any = None, interpolation: str = "step") -> float:
    """Mean of the average precision over the queries to which anything is relevant.

    Parameters
    ----------
    ranking, relevant, junk, interpolation
        As in `average_precision`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where nothing is relevant to any query.

    Examples
    --------
    >>> from sklinvariant.metrics import mean_average_precision
    >>> mean_average_precision([[0, 1], [0, 1]], [[0], [1]])
    0.75
    """
    return mean_over_queries(average_precision(ranking, relevant, junk=junk, interpolation=interpolation))


@with_own_settings
def recall_at_k(ranking: Any, relevant: Any, k: int, *, junk: Any = None) -> float:
    """Share of what is relevant that is among the first k, junk left out; the mean over queries.

    Parameters
    ----------
    ranking, relevant, junk
        As in `average_precision`.
    k : int
        At least 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where nothing is relevant to any query.

    Examples
    --------
    >>> from sklinvariant.metrics import recall_at_k
    >>> recall_at_k([[3, 0, 1, 2]], [[3, 1]], k=2)
    0.5
    """
    return mean_over_queries(recalls(ranking, relevant, k=k, junk=junk))


@with_own_settings
def ukbench_score(ranking: Any, relevant: Any) -> float:
    """UKBench's score, 4 x recall at 4: how many of the first 4 are right, at best 4.

    The 4 pictures of an object are relevant to each of them, the query too: it is in the database and counts.

    Parameters
    ----------
    ranking, relevant
        As in `average_precision`.

    Returns
    -------
    float

    Examples
    --------
    >>> from sklinvariant.metrics import ukbench_score
    >>> ukbench_score([[0, 1, 7, 2], [1, 0, 2, 3]], [[0, 1, 2, 3], [0, 1, 2, 3]])
    3.5
    """
    return 4 * recall_at_k(ranking, relevant, 4)


def recalls(ranking: Any, relevant: Any, *, k: int, junk: Any = None) -> np.ndarray:
    """The recall at k of each query; NaN where nothing is relevant to it."""
    if not is_count(k):
        raise ValueError(f"k must be at least 1, got {k!r}")
    return np.array([hits[:k].sum() / n if n else np.nan for hits, n in _hits(ranking, relevant, junk)])


def mean_over_queries(values: np.ndarray) -> float:
    if np.isnan(values).all():
        raise ValueError("nothing is relevant to any of the queries: there is nothing to measure")
    return float(np.nanmean(values))


def _hits(ranking, relevant, junk):
    """For each query which of its neighbours are relevant, junk and -1 left out, and how many are relevant in all."""
    ranking, relevant, junk = (_on_host(X) for X in (ranking, relevant, junk))
    ranking = np.asarray(ranking)
    if ranking.ndim != 2 or ranking.dtype.kind not in "iu":
        raise ValueError(
            f"ranking must hold whole numbers, (n_queries, k), got {ranking.dtype} of shape {ranking.shape}"
        )
    for name, sets in {"relevant": relevant, "junk": junk}.items():
        n = len(ranking) if sets is None else sets.shape[0] if hasattr(sets, "shape") else len(sets)
        if n != len(ranking):
            raise ValueError(f"{name} speaks of {n} queries, ranking of {len(ranking)}")
    for i, neighbors in enumerate(ranking):
        right = _ids("relevant", relevant, i)
        neighbors = neighbors[neighbors != -1]
        if len(np.unique(neighbors)) < len(neighbors):
            raise ValueError(f"row {i} of ranking holds a neighbour twice")
        if junk is not None:
            skipped = _ids("junk", junk, i)
            right = np.setdiff1d(right, skipped)
            neighbors = neighbors[~np.isin(neighbors, skipped)]
        yield np.isin(neighbors, right), len(right)


def _on_host(X):
    """Tensors and data frames as numpy, sparse matrices by rows, lists as they are."""
    if issparse(X):
        return X.tocsr()
    return X.to_numpy() if hasattr(X, "to_numpy") else to_numpy(X)


def _ids(name, sets, i):
    """The ids that the sets name for query i."""
    if issparse(sets):
        row = sets[[i]]
        return row.indices[row.data != 0]
    row = np.asarray(list(sets[i]) if isinstance(sets[i], (set, frozenset)) else to_numpy(sets[i])).ravel()
    if row.dtype.kind == "b":
        return np.flatnonzero(row)
    if len(row) == 0:
        return row.astype(np.int64)
    if row.dtype.kind not in "iu":
        raise ValueError(f"row {i} of {name} must hold ids, whole numbers, or booleans, got {row.dtype}")
    ids = np.unique(row)
    if len(ids) < len(row):
        raise ValueError(f"row {i} of {name} names an id twice; a matrix of what is so must be boolean or sparse")
    return ids
