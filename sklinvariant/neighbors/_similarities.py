"""Rows of length 1, and their nearest rows by cosine similarity."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from sklinvariant.base import to_numpy

_BLOCK = 256  # rows compared with all others at a time


def unit_rows(X: Any, name: str, n_features: int | None = None) -> np.ndarray:
    """Rows (n, d) of finite numbers, float64 or float32, scaled to length 1; rows of zeros stay zeros."""
    rows = check_array(to_numpy(X), dtype=[np.float64, np.float32], input_name=name)
    if n_features is not None and rows.shape[1] != n_features:
        raise ValueError(
            f"{name} has {rows.shape[1]} features, but the database has {n_features}. Pass features of the same "
            "extractor."
        )
    rows = _divided(rows, np.abs(rows).max(axis=1, keepdims=True))  # squares of very large numbers would overflow
    return _divided(rows, np.linalg.norm(rows, axis=1, keepdims=True))


def _divided(rows, sizes):
    return rows / np.where(sizes > 0, sizes, 1)


def check_rows(rows: Any, n_queries: int, n: int, name: str = "rows") -> np.ndarray:
    """Row numbers (n_queries, k) of neighbours among n rows."""
    rows = np.asarray(to_numpy(rows))
    if rows.ndim != 2 or len(rows) != n_queries or rows.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has dtype {rows.dtype} and shape {rows.shape}, but integers of shape ({n_queries}, k) are "
            "required. Pass row numbers. kneighbors returns ids, which may be others."
        )
    if rows.size and not 0 <= rows.min() <= rows.max() < n:
        raise ValueError(
            f"{name} contains {rows.min()} to {rows.max()}, but there are {n} rows. Pass row numbers, not ids."
        )
    return rows


def check_links(links: Any, n: int, k: int) -> np.ndarray:
    """Row numbers (n, ≥ k) of the nearest other rows of each of n rows, each once."""
    links = check_rows(links, n, n, "links")
    if links.shape[1] < k:
        raise ValueError(
            f"links has {links.shape[1]} neighbours of each row, but {k} are required. Pass more, or lower k."
        )
    own = np.flatnonzero((links == np.arange(n)[:, None]).any(axis=1))
    if len(own):
        raise ValueError(
            f"links[{own[0]}] contains row {own[0]} itself, but other rows are required. Pass the result of "
            "kneighbors() without queries, or leave each row out of its own neighbours."
        )
    in_order = np.sort(links, axis=1)
    twice = np.argwhere(in_order[:, 1:] == in_order[:, :-1])
    if len(twice):
        row, place = twice[0]
        raise ValueError(
            f"links[{row}] contains row {in_order[row, place]} twice, but each neighbour is allowed once. Remove it."
        )
    return links


def linked_similarities(X: np.ndarray, links: np.ndarray, first: int = 0) -> np.ndarray:
    """Similarities (m, k) of the rows of X from ``first`` with their links (m, k), block by block."""
    similarities = np.empty(links.shape, dtype=X.dtype)
    for start in range(0, len(links), _BLOCK):
        part, block = links[start : start + _BLOCK], X[first + start : first + start + _BLOCK]
        similarities[start : start + _BLOCK] = np.einsum("bd,bkd->bk", block[: len(part)], X[part])
    return similarities


def nearest_rows(queries: np.ndarray, X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (q, k) and rows (q, k) of the most similar rows, in descending order, by comparison with all."""
    parts = (queries[start : start + _BLOCK] for start in range(0, len(queries), _BLOCK))
    found = [_most_similar(part @ X.T, k) for part in parts]
    similarities, rows = (np.concatenate(values) for values in zip(*found, strict=True))
    return similarities, rows


def _most_similar(similarities, k):
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarities, order, 1), order
