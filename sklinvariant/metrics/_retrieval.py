"""How good a ranking is: average precision with ignored images, recall, and the score of the UKBench."""

import numpy as np

from sklinvariant._base import to_numpy
from sklinvariant.metrics._ranking import ranking

_JUNK = -1


def relevance_of(neighbors, y_query, y_database, *, junk=None):
    """What a ranking has at each place: 1 for the label that the query has, 0 for others, -1 for what is ignored.

    Parameters
    ----------
    neighbors : array of shape (n_queries, k)
        Rows of the database, the nearest first, as `ranking` and ``kneighbors`` give them.
    y_query : array of shape (n_queries,)
        Labels of the queries.
    y_database : array of shape (n,)
        Labels of the database.
    junk : array of bool of shape (n,) or (n_queries, n), or None, default=None
        Rows that are neither right nor wrong, for all queries or each: they count as if they were not there
        (Philbin et al. 2007).

    Returns
    -------
    array of shape (n_queries, k)
        int8.
    """
    neighbors, y_query, y_database = (np.asarray(to_numpy(a)) for a in (neighbors, y_query, y_database))
    if neighbors.ndim != 2 or len(neighbors) != len(y_query):
        raise ValueError(f"neighbors must be of shape ({len(y_query)}, k), a row a label, got {neighbors.shape}")
    relevance = (y_database[neighbors] == y_query[:, None]).astype(np.int8)
    if junk is not None:
        junk = np.broadcast_to(np.asarray(to_numpy(junk), dtype=bool), (len(y_query), len(y_database)))
        relevance[np.take_along_axis(junk, neighbors, 1)] = _JUNK
    return relevance


def average_precision(relevance, *, n_relevant=None, interpolation="step"):
    """Average precision of each query: the mean over its right images of the precision where they stand.

    Parameters
    ----------
    relevance : array of shape (n_queries, k)
        1 right, 0 wrong, -1 to be ignored, the nearest first; see `relevance_of`.
    n_relevant : array of shape (n_queries,) or None, default=None
        Right images there are, found or not; None takes those in the ranking.
    interpolation : {"step", "trapezoid"}, default="step"
        "step" sums precision at each right image, as scikit-learn does; "trapezoid" is the area under the lines
        between the points, as the program of the Oxford buildings benchmark computes it, which is somewhat less.

    Returns
    -------
    array of shape (n_queries,)
        NaN for a query without any right image.

    References
    ----------
    Philbin, Chum, Isard, Sivic, Zisserman (2007). Object retrieval with large vocabularies and fast spatial matching.

    Examples
    --------
    >>> from sklinvariant.metrics import average_precision
    >>> average_precision([[1, 0, 1], [-1, 0, 1]])
    array([0.83333333, 0.5       ])
    """
    relevance = _checked(relevance)
    if interpolation not in ("step", "trapezoid"):
        raise ValueError(f'interpolation must be "step" or "trapezoid", got {interpolation!r}')
    right = relevance == 1
    counted = np.cumsum(relevance != _JUNK, axis=1)
    hits = np.cumsum(right, axis=1)
    n_relevant = _counts(n_relevant, hits)
    precision = hits / np.maximum(counted, 1)
    if interpolation == "trapezoid":
        before = np.where(counted > 1, (hits - right) / np.maximum(counted - 1, 1), 1.0)
        precision = (precision + before) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(right, precision, 0).sum(axis=1) / n_relevant


def mean_average_precision(relevance, *, n_relevant=None, interpolation="step"):
    """The mean of `average_precision` over the queries that have right images.

    Parameters
    ----------
    relevance, n_relevant, interpolation
        As in `average_precision`.

    Returns
    -------
    float
    """
    return _mean(average_precision(relevance, n_relevant=n_relevant, interpolation=interpolation))


def recall_at_k(relevance, k, *, n_relevant=None):
    """Part of the right images among the first k (ignored ones not counted), mean over queries.

    Parameters
    ----------
    relevance : array of shape (n_queries, at least k)
        As in `average_precision`.
    k : int
        How many images are looked at.
    n_relevant : array of shape (n_queries,) or None, default=None
        As in `average_precision`.

    Returns
    -------
    float
    """
    relevance = _checked(relevance)
    if not 1 <= k <= relevance.shape[1]:
        raise ValueError(f"k must lie between 1 and the {relevance.shape[1]} places of the ranking, got {k}")
    right = relevance == 1
    n_relevant = _counts(n_relevant, np.cumsum(right, axis=1))
    seen = np.cumsum(relevance != _JUNK, axis=1) <= k
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean((right & seen).sum(axis=1) / n_relevant)


def ukbench_score(relevance):
    """4 × recall at 4 of the University of Kentucky benchmark: right images among the first four, mean over queries.

    Parameters
    ----------
    relevance : array of shape (n_queries, at least 4)
        As in `average_precision`, the query itself being in the database and counted: 4 is perfect.

    Returns
    -------
    float

    References
    ----------
    Nistér, Stewénius (2006). Scalable recognition with a vocabulary tree.
    """
    relevance = _checked(relevance)
    if relevance.shape[1] < 4:
        raise ValueError(f"the score looks at 4 places, the ranking has {relevance.shape[1]}")
    return float((relevance[:, :4] == 1).sum(axis=1).mean())


def mean_average_precision_scorer(estimator, X, y):
    """Scorer for ``cross_val_score`` and ``GridSearchCV``: rows of a fold rank each other by the features or codes.

    Parameters
    ----------
    estimator : fitted transformer
        Its ``transform`` gives features, ranked by Euclidean distance, or uint8 bits, ranked by Hamming distance.
    X : array
        What it takes.
    y : array of shape (n,)
        Labels: rows of the same label are right. Labels that occur once are left out as queries.

    Returns
    -------
    float
    """
    return mean_average_precision(relevance_of(_ranks_of(estimator, X), y, y))


def _ranks_of(estimator, X):
    features = estimator.transform(X)
    features = np.asarray(to_numpy(features))
    bits = features.dtype == np.uint8
    if bits and features.max(initial=0) > 1:
        features = np.unpackbits(features, axis=1)
    return ranking(features, metric="hamming" if bits else "euclidean")


def _checked(relevance):
    relevance = np.asarray(to_numpy(relevance))
    if relevance.ndim != 2 or relevance.shape[1] == 0 or not np.isin(relevance, (-1, 0, 1)).all():
        raise ValueError(
            f"relevance must be of shape (n_queries, k) and hold 1, 0 and -1 (ignored), got shape {relevance.shape}"
        )
    return relevance.astype(np.int8)


def _counts(n_relevant, hits):
    found = hits[:, -1]
    if n_relevant is None:
        return found
    n_relevant = np.asarray(n_relevant)
    if n_relevant.shape != found.shape or (n_relevant < found).any():
        raise ValueError("n_relevant must hold a number a query, none below the right images in its ranking")
    return n_relevant


def _mean(values):
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise ValueError("no query has a right image: there is nothing to average")
    return float(known.mean())
