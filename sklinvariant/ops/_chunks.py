"""How a ragged run of descriptors is cut into chunks that fit the cache.

Axes: n bags, m descriptors of a bag, N descriptors in all, k codewords, d features.
"""

import itertools
from typing import NamedTuple

import numpy as np
import torch

CACHE_BYTES = 2 << 20  # one chunk's scores on a CPU: about a core's share of the cache
DEVICE_BYTES = 256 << 20  # the same on a GPU, which wants large launches
DOUBLE_ROWS = 1 << 12  # descriptors at a time where double precision is needed for a moment


class Chunk(NamedTuple):
    """Rows ``start:stop`` belong to bags ``first:last``; ``size`` is their common size, or None."""

    start: int
    stop: int
    first: int
    last: int
    size: int | None


def chunk_rows(k, dtype, device, chunk_size=None):
    """Rows of one chunk: ``chunk_size``, or what keeps a (rows, k) block of scores in the cache."""
    if chunk_size is not None:
        return chunk_size
    budget = CACHE_BYTES if torch.device(device).type == "cpu" else DEVICE_BYTES
    return max(64, budget // (max(k, 1) * dtype.itemsize))


def split_bags(offsets, rows):
    """Cut bags into chunks of at most ``rows`` descriptors; a larger bag is cut through.

    Bags of one size that follow each other stay together, so that a chunk of them can be seen as (n, m, ...);
    shorter runs share a chunk. Empty bags belong to none, or lie inside one.
    """
    pending = None  # the first bag of a shared chunk that is still growing
    for first, last, size in _equal_runs(offsets):
        shares = 0 < size * (last - first) <= rows // 2
        if pending is not None and not (shares and offsets[last] - offsets[pending] <= rows):
            yield _whole(offsets, pending, first)
            pending = None
        if shares:
            pending = first if pending is None else pending
        elif size > rows:
            yield from _cut_through(offsets, first, last, rows)
        elif size > 0:
            step = rows // size
            for bag in range(first, last, step):
                yield _whole(offsets, bag, min(bag + step, last))
    if pending is not None:
        yield _whole(offsets, pending, len(offsets) - 1)


def _equal_runs(offsets):
    sizes = np.diff(offsets)
    edges = np.flatnonzero(np.diff(sizes)) + 1
    edges = [0, *edges.tolist(), len(sizes)]
    for first, last in itertools.pairwise(edges):
        if last > first:
            yield first, last, int(sizes[first])


def _whole(offsets, first, last):
    size = int(offsets[first + 1] - offsets[first])
    if (
        int(offsets[last] - offsets[first]) != size * (last - first)
        or (np.diff(offsets[first : last + 1]) != size).any()
    ):
        size = None
    return Chunk(int(offsets[first]), int(offsets[last]), first, last, size)


def _cut_through(offsets, first, last, rows):
    for bag in range(first, last):
        for start in range(int(offsets[bag]), int(offsets[bag + 1]), rows):
            stop = min(start + rows, int(offsets[bag + 1]))
            yield Chunk(start, stop, bag, bag + 1, stop - start)


def bag_ids(chunk, offsets, device):
    """The bag of each row of a chunk, counted from the chunk's first bag: (rows,) int64."""
    sizes = np.diff(offsets[chunk.first : chunk.last + 1])
    return torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)


def gather_bags(offsets, index):
    """Rows and new offsets of the bags ``index``: what a batch or a fold takes out of the values."""
    starts = offsets[index]
    sizes = offsets[index + 1] - starts
    new = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=new[1:])
    rows = np.arange(new[-1]) + np.repeat(starts - new[:-1], sizes)
    return rows, new


def compute_dtype(dtype):
    """float64 stays float64; everything else is computed in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def take_rows(values, start, stop, like):
    """Rows ``start:stop`` of the values on the device and in the dtype of ``like``; no copy where they are already."""
    return values[start:stop].detach().to(device=like.device, dtype=like.dtype, non_blocking=True)


def load_rows(values, start, stop, like, shift, scale, out=None):
    """The same as (x - shift) / scale.

    ``out`` (at least as many rows) takes them: what chunk after chunk is written to stays in the cache.
    """
    x = take_rows(values, start, stop, like)
    return torch.sub(x, shift, out=None if out is None else out[: len(x)]).div_(scale)


def standardize(values, shift, scale, dtype):
    """(x - shift) / scale of all rows, in double precision a chunk at a time: a large offset costs no digits."""
    shift = torch.as_tensor(shift, dtype=torch.float64, device=values.device)
    out = torch.empty(values.shape, dtype=dtype, device=values.device)
    for part, x in zip(out.split(DOUBLE_ROWS), values.split(DOUBLE_ROWS), strict=True):
        part.copy_(torch.sub(x.double(), shift).div_(scale))
    return out
