"""Exact nearest-neighbour rankings, the input of the retrieval metrics."""

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
    """Rank the rows of a database by their distance to each query, nearest first; ties keep the order of the rows.

    Parameters
    ----------
    queries : array of shape (n_queries, d)
        Features, or bits 0/1 with ``metric="hamming"``.
    database : array of shape (n, d) or None, default=None
        None ranks the queries against each other; each query is excluded from its own ranking.
    metric : {"euclidean", "hamming"}, default="euclidean"
        The distance.
    n_neighbors : int or None, default=None
        Number of neighbours; None ranks all rows.
    chunk_size : int, default=256
        Number of queries processed at a time. Memory grows with it.
    device : str or torch.device, default="auto"
        Device on which distances are computed.

    Returns
    -------
    array of shape (n_queries, n_neighbors)
        Row indices, int64.

    Raises
    ------
    ValueError
        If the shapes do not match, or if there are fewer rows than ``n_neighbors``.

    Examples
    --------
    >>> from sklinvariant.metrics import exact_ranking
    >>> exact_ranking([[0.0], [1.0], [3.0]])
    array([[1, 2],
           [0, 2],
           [1, 0]])
    """
    if metric not in ("euclidean", "hamming"):
        raise ValueError(f'metric={metric!r} is unknown. Choose "euclidean" or "hamming".')
    kind = ArrayKind(queries)
    device = resolve_device(device, kind.tensor_device)
    queries = _rows(queries, "queries", metric).to(device)
    others = queries if database is None else _rows(database, "database", metric).to(device)
    if queries.shape[1] != others.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} features, but the database has {others.shape[1]}. Pass features of the "
            "same transformer."
        )
    dtype = torch.promote_types(queries.dtype, others.dtype)
    queries, others = queries.to(dtype), others.to(dtype)
    candidates = len(others) - (database is None)
    k = candidates if n_neighbors is None else n_neighbors
    if not is_count(k) or k > candidates:
        raise ValueError(
            f"n_neighbors={n_neighbors} is not valid for {candidates} rows to rank. Pass an integer from 1 to "
            f"{candidates}."
        )
    if metric == "euclidean":  # centred, so that products of large numbers do not cancel
        unit = safe_unit(queries, others)  # so that squares stay in the range of the dtype
        queries, others = queries / unit, others / unit
        middle = others.mean(0)
        queries, others = queries - middle, others - middle
    norms = others.square().sum(1)
    found = []
    for start in range(0, len(queries), chunk_size):
        part = queries[start : start + chunk_size]
        distances = torch.addmm(
            norms, part, others.T, alpha=-2
        )  # without the query's norm, which does not change the order
        if database is None:
            own = torch.arange(len(part), device=device)
            distances[own, start + own] = torch.inf
        found.append(distances.argsort(dim=1, stable=True)[:, :k])
    return kind.wrap(torch.cat(found))


def _rows(X, name, metric):
    X = as_numbers(X, name)
    if X.ndim != 2 or len(X) == 0:
        raise ValueError(
            f"{name} has shape {tuple(X.shape)}, but (n, d) with at least one row is required. Reshape {name}."
        )
    if metric == "hamming" and not ((X == 0) | (X == 1)).all():
        raise ValueError(
            f'{name} has values other than 0 and 1, but metric="hamming" requires bits. Unpack bytes with '
            "numpy.unpackbits."
        )
    if not math.isfinite(largest_value(X)):
        row = int((~torch.isfinite(X)).any(1).nonzero()[0])
        raise ValueError(f"{name} contains NaN or infinity in row {row}, but must be finite. Remove this row.")
    return X
