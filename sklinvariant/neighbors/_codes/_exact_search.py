"""Comparison of queries with all codes by faiss, block by block, so that codes may be mapped from a file."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sklinvariant.base import import_faiss

# sizes of the parts passed to faiss, because Ctrl-C has no effect during a call
_SCANNED_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 26


def exact_neighbors(
    queries: np.ndarray, codes: np.ndarray, k: int, removed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (q, k) int32 and rows (q, k) int64 of the k nearest codes, found by comparison with all codes.

    ``removed`` (n,) masks codes to leave out; at least k must remain.
    """
    best: tuple[np.ndarray, np.ndarray] | None = None
    for first, block, kept in _blocks(codes, removed):
        distances, rows = _nearest_of_block(queries, block, min(k, len(block)))
        found = distances, (rows if kept is None else kept[rows]) + first
        best = found if best is None else nearest_of([best, found], k)
    if best is None:
        return np.empty((len(queries), 0), dtype=np.int32), np.empty((len(queries), 0), dtype=np.int64)
    return best


def nearest_of(results: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of several results, each distances (q, m) and ids (q, m); the earlier result wins a tie."""
    distances, ids = (np.concatenate(parts, axis=1) for parts in zip(*results, strict=True))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1)


def codes_within(
    queries: np.ndarray, codes: np.ndarray, radius: float, removed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All codes within ``radius`` bits: limits (q + 1,), and the concatenated distances and rows of all queries.

    The rows of a query rise. ``removed`` (n,) masks codes to leave out.
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64))]
    for first, block, kept in _blocks(codes, removed):
        step = _queries_per_call(block)
        for i in range(0, len(queries), step):
            counts, distances, rows = _codes_within(queries[i : i + step], block, radius)
            asked = np.repeat(np.arange(i, i + len(counts)), counts)
            found.append((asked, distances, (rows if kept is None else kept[rows]) + first))
    asked, distances, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(asked, kind="stable")  # blocks come in order, so rows stay in order
    limits = np.concatenate([[0], np.cumsum(np.bincount(asked, minlength=len(queries)))])
    return limits, distances[order], rows[order]


def in_parts(
    search: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], queries: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The distances and rows that ``search`` returns, called with ``step`` queries at a time."""
    parts = [search(queries[i : i + step]) for i in range(0, len(queries) or 1, step)]
    distances, rows = (np.concatenate(values) for values in zip(*parts, strict=True))
    return distances, rows


def _blocks(codes: np.ndarray, removed: np.ndarray | None) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Blocks of codes: the first row, the codes that are not removed, and their places in the block (None for all)."""
    rows = max(1, _BLOCK_BYTES // codes.shape[1])
    for first in range(0, len(codes), rows):
        block, kept = codes[first : first + rows], None
        if removed is not None and (gone := removed[first : first + rows]).any():
            kept = np.flatnonzero(~gone)
            block = block[kept]
        if len(block):
            yield first, block, kept


def _nearest_of_block(queries, block, k):
    return in_parts(lambda part: import_faiss().knn_hamming(part, block, k), queries, _queries_per_call(block))


def _queries_per_call(codes):
    """Number of queries to compare with all codes in one call, enough for several threads."""
    return max(64, _SCANNED_BYTES // max(1, codes.nbytes))


def _codes_within(queries, codes, radius):
    """`codes_within` in a single call, with the number of codes for each query instead of the limits."""
    faiss = import_faiss()
    result = faiss.RangeSearchResult(len(queries))
    # faiss excludes codes exactly at the radius
    faiss.hamming_range_search(
        faiss.swig_ptr(queries),
        faiss.swig_ptr(codes),
        len(queries),
        len(codes),
        math.floor(radius) + 1,
        codes.shape[1],
        result,
    )
    limits = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
    total = int(limits[-1])
    if total == 0:
        return np.diff(limits), np.empty(0, np.int32), np.empty(0, np.int64)
    distances = faiss.rev_swig_ptr(result.distances, total).astype(np.int32)
    return np.diff(limits), distances, faiss.rev_swig_ptr(result.labels, total).copy()
