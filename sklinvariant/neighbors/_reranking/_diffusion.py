"""Ranking by diffusion on the graph of neighbours."""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags, identity
from scipy.sparse.linalg import cg

from sklinvariant.base import ArrayKind, Count, NonNegative, ShareBelowOne, validated
from sklinvariant.neighbors._similarities import check_links, linked_similarities, nearest_rows, unit_rows


@validated
def diffusion_ranking(
    queries: Any,
    X: Any,
    *,
    n_links: Count = 10,
    n_starts: Count = 3,
    gamma: NonNegative = 3.0,
    alpha: ShareBelowOne = 0.9,
    max_iter: Count = 20,
    n_neighbors: Count | None = None,
    links: Any = None,
) -> tuple[Any, Any]:
    r"""Rank rows by a random walk that starts at the neighbours of a query and restarts there.

    The graph links rows x that are among the ``n_links`` nearest of each other, with weights A. The scores f of all
    rows solve

    .. math:: (I - \alpha S) f = y, \qquad S = D^{-1/2} A D^{-1/2}, \qquad A_{ij} = \max(x_i \cdot x_j, 0)^\gamma

    where the diagonal matrix D contains the sums of the rows of A, and y are the weights of the ``n_starts`` rows
    nearest to the query. Rows are thus found along chains of neighbours.

    Parameters
    ----------
    queries : array of shape (n_queries, n_features)
        Vectors, which are scaled to length 1.
    X : array of shape (n, n_features)
        The vectors of the database, which are scaled to length 1. All pairs are compared, unless ``links`` is given.
    n_links : int, default=10
        Number of nearest rows that can be linked to a row. Raise it if many rows are relevant; the paper uses 50.
    n_starts : int, default=3
        Number of rows at which the walk of a query starts.
    gamma : float, default=3.0
        Exponent of the similarities. Raising it trusts similar rows more.
    alpha : float, default=0.9
        Probability to continue the walk, below 1. Raising it reaches farther; 0 returns the order of the starts. The
        paper uses 0.99, which is much worse if few rows are relevant.
    max_iter : int, default=20
        Maximum number of iterations of conjugate gradients for each query.
    n_neighbors : int or None, default=None
        Number of rows to return for each query; None ranks all rows.
    links : array of int of shape (n, ≥ n_links) or None, default=None
        The numbers of the nearest other rows of each row, nearest first, as ``kneighbors()`` of an index returns them.
        For many rows, this saves the comparison of all pairs.

    Returns
    -------
    scores, rows : array of shape (n_queries, n_neighbors)
        Best first. Rows that no walk reaches come last, in the order of their similarity to the query.

    References
    ----------
    Iscen, Tolias, Avrithis, Furon, Chum (2017). Efficient diffusion on region manifolds: recovering small objects with
    compact CNN representations. Equations 1-10.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.neighbors import diffusion_ranking
    >>> angles = np.deg2rad([0, 20, 40, 60, 325])  # a chain, and a row 35 degrees from its end
    >>> X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    >>> diffusion_ranking([[1.0, 0.0]], X, n_links=2, n_starts=1, alpha=0.99)[1]  # the chain comes first
    array([[1, 2, 0, 3, 4]])
    """
    kind = ArrayKind(queries)
    database = unit_rows(X, "X")
    queries = unit_rows(queries, "queries", database.shape[1])
    n = len(database)
    k = min(n_links, n - 1)
    links = _nearest_others(database, k) if links is None else check_links(links, n, k)[:, :k]
    system = identity(n, format="csr") - alpha * _transitions(database, links, gamma)
    found = [
        _ranked(query, database, system, n_starts, gamma, max_iter, n if n_neighbors is None else n_neighbors)
        for query in queries
    ]
    scores, ranking = (np.stack(parts) for parts in zip(*found, strict=True))
    return kind.wrap(scores), kind.wrap(ranking)


def _ranked(query, database, system, n_starts, gamma, max_iter, n_neighbors):
    """Scores and numbers of the best rows for a query."""
    similarities = database @ query
    starts = np.argsort(-similarities, kind="stable")[:n_starts]
    y = np.zeros(len(database))
    y[starts] = np.maximum(similarities[starts], 0) ** gamma
    scores = cg(system, y, rtol=1e-6, maxiter=max_iter)[0]
    reached = np.abs(scores) > 1e-12 * np.abs(scores).max()
    scores[~reached] = (similarities[~reached] - 2) * 1e-3  # below all that are reached
    ranking = np.argsort(-scores, kind="stable")[:n_neighbors]
    return scores[ranking], ranking


def _nearest_others(X, k):
    """The numbers (n, k) of the nearest other rows of each row."""
    rows = nearest_rows(X, X, k + 1)[1]
    other = rows != np.arange(len(X))[:, None]
    other[:, -1] &= other.sum(axis=1) == k  # the row itself is not among its neighbours if many are equal to it
    return rows[other].reshape(len(X), k)


def _transitions(X, links, gamma):
    """S (n, n), the symmetrically normalised weights of mutual neighbours."""
    n, k = links.shape
    weights = np.maximum(linked_similarities(X, links), 0) ** gamma
    directed = csr_matrix((weights.ravel(), (np.repeat(np.arange(n), k), links.ravel())), shape=(n, n))
    mutual = directed.minimum(directed.T)  # 0 unless both are linked
    degrees = np.asarray(mutual.sum(axis=1)).ravel()
    scale = diags(np.divide(1, np.sqrt(degrees), out=np.zeros(n), where=degrees > 0))
    return scale @ mutual @ scale
