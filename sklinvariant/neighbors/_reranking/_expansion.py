"""Vectors replaced by weighted means of their neighbours, before a search."""

from typing import Any

import numpy as np

from sklinvariant.base import ArrayKind, NonNegative, validated
from sklinvariant.neighbors._similarities import check_rows, unit_rows


@validated
def expand_queries(queries: Any, X: Any, rows: Any, *, alpha: NonNegative = 3.0) -> Any:
    r"""Expand each query by its neighbours, and search again with the result (α-weighted query expansion).

    A query q of length 1 becomes the sum of itself and its nearest rows x, scaled to length 1:

    .. math:: q + \sum_i \max(q \cdot x_i, 0)^\alpha x_i

    Parameters
    ----------
    queries : array of shape (n_queries, n_features)
        Vectors, which are scaled to length 1.
    X : array of shape (n, n_features)
        The vectors of the database, which are scaled to length 1.
    rows : array of int of shape (n_queries, k)
        The numbers of the nearest rows of X for each query. More of them help as long as most are relevant.
        ``kneighbors`` of an index returns ids, which are row numbers unless ``fit`` was given other ids. For such an
        index, pass ``index.kneighbors_graph(queries).indices.reshape(len(queries), -1)``.
    alpha : float, default=3.0
        0 weights all neighbours alike (average query expansion). Raising it trusts similar neighbours more.

    Returns
    -------
    array of shape (n_queries, n_features)
        Expanded queries of length 1.

    References
    ----------
    Radenović, Tolias, Chum (2018). Fine-tuning CNN image retrieval with no human annotation. Section 3.3.

    Examples
    --------
    >>> from sklinvariant.neighbors import expand_queries
    >>> expand_queries([[1.0, 0.0]], [[0.8, 0.6], [0.0, 1.0]], [[0]], alpha=0).round(2)
    array([[0.95, 0.32]])
    """
    kind = ArrayKind(queries)
    database = unit_rows(X, "X")
    queries = unit_rows(queries, "queries", database.shape[1])
    rows = check_rows(rows, len(queries), len(database))
    expanded = queries.copy()
    for i, (query, neighbours) in enumerate(zip(queries, rows, strict=True)):
        near = database[neighbours]
        expanded[i] += np.maximum(near @ query, 0) ** alpha @ near
    return kind.wrap(unit_rows(expanded, "queries"))


@validated
def augment_database(X: Any, rows: Any, *, alpha: NonNegative = 3.0) -> Any:
    """Replace each vector of a database by the weighted mean of itself and its neighbours (database-side augmentation).

    The weights are those of `expand_queries`. The work is done once, not for each query.

    Parameters
    ----------
    X : array of shape (n, n_features)
        The vectors of the database, which are scaled to length 1.
    rows : array of int of shape (n, k)
        The numbers of the nearest other rows of each row, as ``kneighbors()`` without queries returns them. If ``fit``
        was given other ids than row numbers, pass ``index.kneighbors_graph().indices.reshape(len(X), -1)``.
    alpha : float, default=3.0
        0 weights all neighbours alike. Raising it trusts similar neighbours more.

    Returns
    -------
    array of shape (n, n_features)
        Augmented vectors of length 1.

    References
    ----------
    Turcot, Lowe (2009). Better matching with fewer features. Arandjelović, Zisserman (2012). Three things everyone
    should know to improve object retrieval. Section 4.

    Examples
    --------
    >>> from sklinvariant.neighbors import augment_database
    >>> augment_database([[1.0, 0.0], [0.8, 0.6]], [[1], [0]], alpha=0).round(2)
    array([[0.95, 0.32],
           [0.95, 0.32]])
    """
    return expand_queries(X, X, rows, alpha=alpha)
