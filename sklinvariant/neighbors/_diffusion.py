"""Ranking by diffusion on the graph of neighbours."""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags, identity
from scipy.sparse.linalg import cg

from sklinvariant.base import ArrayKind, Count, NonNegative, ShareBelowOne, validated
from sklinvariant.neighbors._similarities import nearest_rows, unit_rows


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
) -> tuple[Any, Any]:
    """Rank rows by a random walk that starts at the neighbours of a query and restarts there.

    The graph links rows that are among the ``n_links`` nearest of each other, with weights A = max(⟨xᵢ, xⱼ⟩, 0)ᵞ. With
    S = D^(-1/2) A D^(-1/2), where D are the sums of the rows of A, the scores f of all rows solve (I - α S) f = y. Here
    y are the weights of the ``n_starts`` rows nearest to the query. Rows are thus found along chains of neighbours.

    Parameters
    ----------
    queries : array of shape (n_queries, n_features)
        Vectors, which are scaled to length 1.
    X : array of shape (n, n_features)
        The vectors of the database, which are scaled to length 1. All pairs are compared.
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
    system = identity(n, format="csr") - alpha * _transitions(database, min(n_links, n - 1), gamma)
    scores = np.empty((len(queries), n))
    for query, row in zip(queries, scores, strict=True):
        similarities = database @ query
        starts = np.argsort(-similarities, kind="stable")[:n_starts]
        y = np.zeros(n)
        y[starts] = np.maximum(similarities[starts], 0) ** gamma
        row[:] = cg(system, y, rtol=1e-6, maxiter=max_iter)[0]
        reached = np.abs(row) > 1e-12 * np.abs(row).max()
        row[~reached] = (similarities[~reached] - 2) * 1e-3  # below all that are reached
    ranking = np.argsort(-scores, axis=1, kind="stable")[:, :n_neighbors]
    return kind.wrap(np.take_along_axis(scores, ranking, 1)), kind.wrap(ranking)


def _transitions(X, k, gamma):
    """S (n, n), the symmetrically normalised weights of mutual neighbours."""
    n = len(X)
    similarities, rows = nearest_rows(X, X, k + 1)
    other = rows != np.arange(n)[:, None]
    i, j = np.broadcast_to(np.arange(n)[:, None], rows.shape)[other], rows[other]
    directed = csr_matrix((np.maximum(similarities[other], 0) ** gamma, (i, j)), shape=(n, n))
    mutual = directed.minimum(directed.T)  # 0 unless both are linked
    degrees = np.asarray(mutual.sum(axis=1)).ravel()
    scale = diags(np.divide(1, np.sqrt(degrees), out=np.zeros(n), where=degrees > 0))
    return scale @ mutual @ scale
