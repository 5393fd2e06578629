"""Retrieval metrics: average precision, with the junk images of the Oxford buildings; recall at k; the UKBench score.

Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", 2007; Nistér & Stewénius,
"Scalable recognition with a vocabulary tree", 2006.

A ranking (n_queries, k) holds the ids of the neighbours of each query, best first; -1 marks a missing neighbour. The
relevant ids are given as a list of ids for each query, or as a boolean or sparse matrix (n_queries, n_database). Junk
ids are given in the same way, and are removed from the ranking before anything is counted. If the database contains the
query itself, declare it as junk.
"""

from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklinvariant._settings import with_own_settings
from sklinvariant.base import documented_by, is_count, to_numpy


@with_own_settings
def average_precision(ranking: Any, relevant: Any, *, junk: Any = None, interpolation: str = "step") -> np.ndarray:
    r"""Average precision of each query, the area under its precision-recall curve.

    The precision P(j) is the share of relevant ids among the first j neighbours, without junk. R is the number of all
    relevant ids. "step" sums over the ranks j of the relevant ids, as scikit-learn does:

    .. math:: \mathrm{AP} = \frac{1}{R} \sum_j P(j)

    "trapezoid" replaces :math:`P(j)` by :math:`(P(j) + P(j - 1)) / 2`, with :math:`P(0) = 1`, as in the evaluation
    program of the Oxford buildings. Relevant ids that are not in the ranking contribute 0.

    Parameters
    ----------
    ranking : array-like of shape (n_queries, k), int
        Ids of the neighbours, best first; -1 for a missing neighbour.
    relevant : list of n_queries array-likes of ids, or boolean or sparse matrix of shape (n_queries, n_database)
        Ids that should be found. Ids that are also junk count as junk.
    junk : list of n_queries array-likes of ids, or boolean or sparse matrix, or None, default=None
        Ids that count neither as correct nor as wrong. They are removed from the ranking.
    interpolation : {"step", "trapezoid"}, default="step"
        How the area under the curve is computed: as scikit-learn does, or with the trapezoids of the Oxford buildings.

    Returns
    -------
    ndarray of shape (n_queries,)
        Values between 0 and 1, or NaN for a query without relevant ids.

    Examples
    --------
    >>> from sklinvariant.metrics import average_precision
    >>> average_precision([[3, 0, 1, 2]], [[3, 1]])
    array([0.83333333])
    >>> average_precision([[3, 0, 1, 2]], [[3, 1]], junk=[[0]])
    array([1.])
    """
    if interpolation not in ("step", "trapezoid"):
        raise ValueError(f"interpolation={interpolation!r} is unknown. Choose 'step' or 'trapezoid'.")
    values = []
    for hits, n_relevant in _hits(ranking, relevant, junk):
        found = np.cumsum(hits)
        precision = found / np.arange(1, len(hits) + 1)
        if interpolation == "trapezoid":
            precision = (precision + np.concatenate([[1.0], precision[:-1]])) / 2
        values.append(precision[hits].sum() / n_relevant if n_relevant else np.nan)
    return np.array(values)


@with_own_settings
@documented_by(average_precision)
def mean_average_precision(ranking: Any, relevant: Any, *, junk: Any = None, interpolation: str = "step") -> float:
    """Mean of the average precision over the queries that have relevant ids.

    Returns
    -------
    float
        The mean, between 0 and 1.

    Raises
    ------
    ValueError
        If no query has relevant ids.

    Examples
    --------
    >>> from sklinvariant.metrics import mean_average_precision
    >>> mean_average_precision([[0, 1], [0, 1]], [[0], [1]])
    0.75
    """
    return mean_over_queries(average_precision(ranking, relevant, junk=junk, interpolation=interpolation))


@with_own_settings
@documented_by(average_precision)
def recall_at_k(ranking: Any, relevant: Any, k: int, *, junk: Any = None) -> float:
    """Share of the relevant ids that are among the first k neighbours without junk, averaged over queries.

    Parameters
    ----------
    k : int
        Number of neighbours, at least 1.

    Returns
    -------
    float
        The mean, between 0 and 1.

    Raises
    ------
    ValueError
        If no query has relevant ids.

    Examples
    --------
    >>> from sklinvariant.metrics import recall_at_k
    >>> recall_at_k([[3, 0, 1, 2]], [[3, 1]], k=2)
    0.5
    """
    return mean_over_queries(recalls(ranking, relevant, k=k, junk=junk))


@with_own_settings
@documented_by(average_precision)
def ukbench_score(ranking: Any, relevant: Any) -> float:
    """UKBench score, 4 x recall at 4: the mean number of correct images among the first 4.

    The 4 images of an object are relevant to each of them, including the query, which is part of the database.

    Returns
    -------
    float
        The score, between 0 and 4.

    Examples
    --------
    >>> from sklinvariant.metrics import ukbench_score
    >>> ukbench_score([[0, 1, 7, 2], [1, 0, 2, 3]], [[0, 1, 2, 3], [0, 1, 2, 3]])
    3.5
    """
    return 4 * recall_at_k(ranking, relevant, 4)


def recalls(ranking: Any, relevant: Any, *, k: int, junk: Any = None) -> np.ndarray:
    """The recall at k of each query; NaN for a query without relevant ids."""
    if not is_count(k):
        raise ValueError(f"k={k!r} is not valid. Pass an integer of at least 1.")
    return np.array([hits[:k].sum() / n if n else np.nan for hits, n in _hits(ranking, relevant, junk)])


def mean_over_queries(values: np.ndarray) -> float:
    """The mean of the values that are not NaN. Raises a ValueError if there are none."""
    if np.isnan(values).all():
        raise ValueError("no query has relevant ids, but at least one is required. Check relevant, or the labels y.")
    return float(np.nanmean(values))


def _hits(ranking, relevant, junk):
    """For each query, which of its neighbours without junk and -1 are relevant, and the number of relevant ids."""
    ranking, relevant, junk = (_on_host(X) for X in (ranking, relevant, junk))
    ranking = np.asarray(ranking)
    if ranking.ndim != 2 or ranking.dtype.kind not in "iu":
        raise ValueError(
            f"ranking has dtype {ranking.dtype} and shape {ranking.shape}, but integers of shape (n_queries, k) are "
            "required. Pass ids of neighbours."
        )
    for name, sets in {"relevant": relevant, "junk": junk}.items():
        n = len(ranking) if sets is None else sets.shape[0] if hasattr(sets, "shape") else len(sets)
        if n != len(ranking):
            raise ValueError(
                f"{name} has entries for {n} queries, but ranking has {len(ranking)}. Pass one entry for each query."
            )
    for i, neighbors in enumerate(ranking):
        right = _ids("relevant", relevant, i)
        neighbors = neighbors[neighbors != -1]
        if len(np.unique(neighbors)) < len(neighbors):
            raise ValueError(
                f"row {i} of ranking contains a neighbour twice, but ids must be unique. Remove duplicates."
            )
        if junk is not None:
            skipped = _ids("junk", junk, i)
            right = np.setdiff1d(right, skipped)
            neighbors = neighbors[~np.isin(neighbors, skipped)]
        yield np.isin(neighbors, right), len(right)


def _on_host(X):
    """Tensors and data frames as numpy arrays, sparse matrices in CSR format, lists unchanged."""
    if issparse(X):
        return X.tocsr()
    return X.to_numpy() if hasattr(X, "to_numpy") else to_numpy(X)


def _ids(name, sets, i):
    """The ids of query i."""
    if issparse(sets):
        row = sets[[i]]
        return row.indices[row.data != 0]
    row = np.asarray(list(sets[i]) if isinstance(sets[i], (set, frozenset)) else to_numpy(sets[i])).ravel()
    if row.dtype.kind == "b":
        return np.flatnonzero(row)
    if len(row) == 0:
        return row.astype(np.int64)
    if row.dtype.kind not in "iu":
        raise ValueError(
            f"row {i} of {name} has dtype {row.dtype}, but integer ids or booleans are required. Convert it."
        )
    ids = np.unique(row)
    if len(ids) < len(row):
        raise ValueError(
            f"row {i} of {name} contains an id twice, but ids must be unique. Convert an indicator matrix to bool."
        )
    return ids
