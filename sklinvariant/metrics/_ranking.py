"""Who is nearest to whom, exactly, in chunks of queries; what the retrieval metrics look at."""

import math
from typing import Any

import torch

from sklinvariant._settings import with_own_settings
from sklinvariant.base import ArrayKind, Device, as_numbers, is_count, resolve_device
from sklinvariant.ops import largest_value, safe_unit


@with_own_settings
def exact_ranking(
    queries: Any,
    database: Any = None,
    *,
    metric: str = "euclidean",
    n_neighbors: int | None = None,
    chunk_size: int = 256,
    device: Device = "auto",
) -> Any:
    """Rows of a database for each query, the nearest first; equal distances in the order of the rows.

    Parameters
    ----------
    queries : array of shape (n_queries, d)
        Features, or bits 0/1 with ``metric="hamming"``.
    database : array of shape (n, d) or None, default=None
        None ranks the queries for each other, each left out of its own ranking.
    metric : {"euclidean", "hamming"}, default="euclidean"
        The distance.
    n_neighbors : int or None, default=None
        How many; None ranks all rows.
    chunk_size : int, default=256
        Queries at a time; memory is that of so many rows of distances.
    device : str or torch.device, default="auto"
        Where distances are computed.

    Returns
    -------
    array of shape (n_queries, n_neighbors)
        int64 indices of rows.

    Raises
    ------
    ValueError
        Where shapes do not fit, or there are fewer rows than ``n_neighbors``.

    Examples
    --------
    >>> from sklinvariant.metrics import exact_ranking
    >>> exact_ranking([[0.0], [1.0], [3.0]])
    array([[1, 2],
           [0, 2],
           [1, 0]])
    """
    if metric not in ("euclidean", "hamming"):
        raise ValueError(f'metric must be "euclidean" or "hamming", got {metric!r}')
    container = ArrayKind(queries)
    device = resolve_device(device, queries)
    queries = _rows(queries, "queries", metric).to(device)
    others = queries if database is None else _rows(database, "database", metric).to(device)
    if queries.shape[1] != others.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} features, but the database has {others.shape[1]}")
    candidates = len(others) - (database is None)
    k = candidates if n_neighbors is None else n_neighbors
    if not is_count(k) or k > candidates:
        raise ValueError(f"n_neighbors must lie between 1 and the {candidates} rows to rank, got {n_neighbors}")
    if metric == "euclidean":  # from the middle, so that products of large numbers do not cancel
        unit = safe_unit(queries, others)  # and neither they nor their squares leave the range of their dtype
        queries, others = queries / unit, others / unit
        middle = others.mean(0)
        queries, others = queries - middle, others - middle
    norms = others.square().sum(1)
    found = []
    for start in range(0, len(queries), chunk_size):
        part = queries[start : start + chunk_size]
        distances = torch.addmm(norms, part, others.T, alpha=-2)  # less the query's own norm, which changes no order
        if database is None:
            own = torch.arange(len(part), device=device)
            distances[own, start + own] = torch.inf
        found.append(distances.argsort(dim=1, stable=True)[:, :k])
    return container.wrap(torch.cat(found))


def _rows(X, name, metric):
    X = as_numbers(X, name)
    if X.ndim != 2 or len(X) == 0:
        raise ValueError(f"{name} must be of shape (n, d) with at least one row, got {tuple(X.shape)}")
    if metric == "hamming" and not ((X == 0) | (X == 1)).all():
        raise ValueError(f'{name} must hold bits 0 and 1 for metric="hamming"; unpack bytes with numpy.unpackbits')
    if not math.isfinite(largest_value(X)):
        raise ValueError(f"{name} contains NaN or infinity in row {int((~torch.isfinite(X)).any(1).nonzero()[0])}")
    return X
