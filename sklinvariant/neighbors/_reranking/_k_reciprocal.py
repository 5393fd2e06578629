"""Ranking by k-reciprocal neighbours."""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from sklinvariant.base import ArrayKind, Count, Share, validated
from sklinvariant.neighbors._similarities import check_links, linked_similarities, unit_rows

_BLOCK = 256  # rows compared with all others at a time


@validated
def k_reciprocal_ranking(
    queries: Any,
    X: Any,
    *,
    k1: Count = 10,
    k2: Count = 3,
    weight: Share = 0.3,
    n_neighbors: Count | None = None,
    links: Any = None,
) -> tuple[Any, Any]:
    r"""Rank rows by how many k-reciprocal neighbours they share with a query.

    Two rows are k-reciprocal neighbours if each is among the k nearest of the other. The distance d of two rows is the
    squared Euclidean distance of rows of length 1, divided by the largest one of the query. A row i is described by
    weights :math:`V_{ij} = \exp(-d_{ij})` over its k-reciprocal neighbours j, averaged over its nearest rows. The
    weights of two rows are compared by the Jaccard distance

    .. math:: J(i, j) = 1 - \frac{\sum_l \min(V_{il}, V_{jl})}{\sum_l \max(V_{il}, V_{jl})}

    and the result ranks by :math:`(1 - w) J + w d` with ``weight`` w.

    Parameters
    ----------
    queries : array of shape (n_queries, n_features)
        Vectors, which are scaled to length 1. They are neighbours of each other, so the result depends on all of them.
    X : array of shape (n, n_features)
        The vectors of the database, which are scaled to length 1. All pairs are compared, unless ``links`` is given.
        Memory grows with (n_queries + n) · (k1 + k2) and with n_queries · n.
    k1 : int, default=10
        Number of neighbours that must be reciprocal; about the number of relevant rows. The paper uses 20.
    k2 : int, default=3
        Number of nearest rows over which the weights are averaged (local query expansion); 1 does not average.
    weight : float, default=0.3
        Weight of the original distance, from 0 to 1.
    n_neighbors : int or None, default=None
        Number of rows to return for each query; None ranks all rows.
    links : array of int of shape (n, ≥ max(k1, k2)) or None, default=None
        The numbers of the nearest other rows of each row of X, as ``kneighbors()`` of an index returns them. Rows of X
        are then compared with these and with the queries alone, and the largest distance of a row is the largest of
        these. With all rows as links, the result is the same.

    Returns
    -------
    distances, rows : array of shape (n_queries, n_neighbors)
        Nearest first.

    References
    ----------
    Zhong, Zheng, Cao, Li (2017). Re-ranking person re-identification with k-reciprocal encoding. Equations 1-12.

    Examples
    --------
    >>> from sklinvariant.neighbors import k_reciprocal_ranking
    >>> X = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]
    >>> k_reciprocal_ranking([[0.8, 0.3]], X, k1=2, k2=1)[1]
    array([[1, 0, 3, 2]])
    """
    kind = ArrayKind(queries)
    database = unit_rows(X, "X")
    queries = unit_rows(queries, "queries", database.shape[1])
    n, k = len(database), max(k1, k2)
    links = None if links is None else check_links(links, n, min(k, n - 1))
    rows, n_queries = np.concatenate([queries, database]), len(queries)
    order, largest = _nearest(rows, n_queries, links, 1 + k)
    weights = _reciprocal_weights(rows, order, largest, k1)
    weights = _mean_over_nearest(weights, order[:, :k2])
    mixed = (1 - weight) * _jaccard(weights, n_queries)
    mixed += weight * _squares(queries @ database.T) / largest[:n_queries, None]
    ranking = np.argsort(mixed, axis=1, kind="stable")[:, :n_neighbors]
    return kind.wrap(np.take_along_axis(mixed, ranking, 1)), kind.wrap(ranking)


def _squares(similarities):
    """Squared Euclidean distances of rows of length 1."""
    return np.maximum(2 - 2 * similarities, 0)


def _nearest(rows, n_queries, links, k):
    """The numbers (n, k) of the rows nearest to each row, itself first, and the largest squared distance (n,) of each.

    The queries, which are the first rows, are compared with all others, and so are the others if there are no links.
    """
    n = len(rows)
    nearest, largest = np.empty((n, min(k, n)), dtype=np.intp), np.empty(n)
    for start in range(0, n, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, n))
        if links is None or start < n_queries:
            others = np.broadcast_to(np.arange(n), (len(block), n))
            squares = _squares(rows[block] @ rows.T)
        else:
            linked = n_queries + links[block - n_queries]
            others = np.hstack([np.broadcast_to(np.arange(n_queries), (len(block), n_queries)), linked, block[:, None]])
            similarities = rows[block] @ rows[:n_queries].T, linked_similarities(rows, linked, start)
            squares = np.pad(_squares(np.hstack(similarities)), ((0, 0), (0, 1)))
            in_order = np.argsort(others, axis=1)  # as where all are compared, so that equal rows have one order
            others, squares = (np.take_along_axis(values, in_order, 1) for values in (others, squares))
        largest[block] = squares.max(axis=1)
        squares[others == block[:, None]] = -1  # a row is its own nearest, also among duplicates
        nearest[block] = np.take_along_axis(others, np.argsort(squares, axis=1, kind="stable")[:, :k], 1)
    return nearest, np.where(largest > 0, largest, 1)


def _reciprocal(order, i, k):
    """The rows among the k nearest of row i, itself included, that have i among their k nearest (equation 2)."""
    near = order[i, : k + 1]
    return near[(order[near, : k + 1] == i).any(axis=1)]


def _reciprocal_weights(rows, order, largest, k1):
    """Weights exp(-d) over the k-reciprocal neighbours of each row, of sum 1, in a sparse matrix (equations 3 and 7).

    The neighbours of a neighbour join them if two thirds of these are shared.
    """
    half, parts = max(1, round(k1 / 2)), []
    for i in range(len(order)):
        own = found = _reciprocal(order, i, k1)
        for j in own:
            theirs = _reciprocal(order, j, half)
            if np.isin(theirs, own).sum() > 2 / 3 * len(theirs):
                found = np.union1d(found, theirs)
        values = np.exp(-_squares(rows[found] @ rows[i]) / largest[i])
        parts.append((np.full(len(found), i), found, values / values.sum()))
    numbers, columns, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return csr_matrix((weights, (numbers, columns)), shape=(len(order), len(order)))


def _mean_over_nearest(weights, nearest):
    """The means of the weights of the nearest rows of each row (equation 11)."""
    n, k = nearest.shape
    mean = csr_matrix((np.full(n * k, 1 / k), nearest.ravel(), np.arange(n + 1) * k), shape=(n, n))
    return mean @ weights


def _jaccard(weights, n_queries):
    """Jaccard distances (equation 10) of the first rows from the others. All rows have sum 1, so Σ max = 2 - Σ min."""
    others = weights[n_queries:].tocsc()
    shared = np.zeros((n_queries, others.shape[0]))
    for i in range(n_queries):
        for place in range(weights.indptr[i], weights.indptr[i + 1]):
            column = slice(*others.indptr[weights.indices[place] : weights.indices[place] + 2])
            shared[i, others.indices[column]] += np.minimum(weights.data[place], others.data[column])
    return 1 - shared / (2 - shared)
