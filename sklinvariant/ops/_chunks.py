"""Split ragged bags of descriptors into chunks that fit the cache.

Axes: n bags, m descriptors of a bag, N descriptors in total, k codewords, d features.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from sklinvariant._docstrings import documented_by
from sklinvariant.ops._memory import DEVICE_BYTES, chunk_bytes, chunk_share

CACHE_BYTES = 2 << 20  # size of the scores of one chunk on a CPU: about the share of the cache of one core
NETWORK_BYTES = 8 << 20  # size of the largest layer of a network on a CPU, which reads all its weights for each chunk
MOST_SAMPLES = 1024  # that a network processes at a time
DOUBLE_ROWS = 1 << 12  # descriptors that are converted to double precision at a time


class Chunk(NamedTuple):
    """Rows ``start:stop`` of bags ``first:last``; ``size`` is the common size of these bags, or None if they differ."""

    start: int
    stop: int
    first: int
    last: int
    size: int | None


@documented_by(chunk_bytes)
def chunk_rows(k: int, dtype: torch.dtype, device: str | torch.device, chunk_size: int | None = None) -> int:
    """Number of descriptors of a chunk, so that their scores fit into the cache.

    It becomes smaller when a GPU runs out of memory, see `in_smaller_chunks`.

    Parameters
    ----------
    k : int
        Number of values of a descriptor, such as its scores.
    dtype : torch.dtype
        Type of the values.
    chunk_size : int or None, default=None
        Number of descriptors processed at a time. None chooses it by the size of the cache.

    Returns
    -------
    int, at least 64 unless ``chunk_size`` is smaller
    """
    if chunk_size is not None:
        return chunk_share(chunk_size)
    budget = chunk_bytes(CACHE_BYTES, device)
    return max(64, budget // (max(k, 1) * dtype.itemsize))


@documented_by(chunk_bytes, chunk_rows)
def samples_at_once(n_values: int, dtype: torch.dtype, device: str | torch.device) -> int:
    """Number of samples that a network processes at a time.

    Parameters
    ----------
    n_values : int
        Number of values of a sample in the largest layer of the network.

    Returns
    -------
    int from 1 to 1024
    """
    budget = chunk_bytes(NETWORK_BYTES, device)
    return max(1, min(MOST_SAMPLES, budget // (max(n_values, 1) * dtype.itemsize)))


def concatenated(parts: Iterable[torch.Tensor], n: int) -> torch.Tensor:
    """The rows of all parts as one tensor.

    It is allocated with the first part. A list of small parts, made between large temporary arrays, would prevent the
    memory of these from being used again.

    Parameters
    ----------
    parts : iterable of tensors of shape (n_i, ...)
        The parts, which differ only in their number of rows.
    n : int
        Number of rows of all parts.

    Returns
    -------
    tensor of shape (n, ...)
    """
    result, start = torch.empty(0), 0
    for part in parts:
        if start == 0:
            if len(part) == n:
                return part
            result = part.new_empty(n, *part.shape[1:])
        result[start : start + len(part)] = part
        start += len(part)
    return result


def split_bags(offsets: np.ndarray, rows: int) -> Iterator[Chunk]:
    """Split bags into chunks of at most ``rows`` descriptors. A larger bag is divided between chunks.

    Consecutive bags of equal size form a chunk that can be viewed as (n, m, ...). Short runs of bags of different
    sizes share a chunk. Empty bags are skipped or lie inside a chunk.
    """
    pending = None  # first bag of a shared chunk that may still grow
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
    changes = np.flatnonzero(np.diff(sizes)) + 1
    edges = [0, *changes.tolist(), len(sizes)]
    for first, last in itertools.pairwise(edges):
        if last > first:
            yield first, last, int(sizes[first])


def _whole(offsets, first, last):
    size: int | None = int(offsets[first + 1] - offsets[first])
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


def bag_ids(chunk: Chunk, offsets: np.ndarray, device: str | torch.device) -> torch.Tensor:
    """Index of the bag of each row of a chunk, relative to the first bag of the chunk: (rows,) int64."""
    sizes = np.diff(offsets[chunk.first : chunk.last + 1])
    return torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)


def gather_bags(offsets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the descriptors that belong to some of the bags, and the offsets of these bags in the selection.

    Parameters
    ----------
    offsets : array of shape (n + 1,)
        Bag i has the rows ``offsets[i]:offsets[i + 1]``.
    index : int array of shape (m,)
        Which bags to select, in any order.

    Returns
    -------
    rows : int64 array of shape (M,)
        Rows of the selected bags, one bag after the other.
    offsets : int64 array of shape (m + 1,)
        Bag ``index[i]`` has the rows ``rows[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.ops import gather_bags
    >>> rows, offsets = gather_bags(np.array([0, 2, 5, 6]), np.array([2, 1]))
    >>> rows.tolist(), offsets.tolist()
    ([5, 2, 3, 4], [0, 1, 4])
    """
    starts = offsets[index]
    sizes = offsets[index + 1] - starts
    new = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=new[1:])
    rows = np.arange(new[-1]) + np.repeat(starts - new[:-1], sizes)
    return rows, new


@documented_by(chunk_rows)
def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of computations: float64 for float64, otherwise float32.

    Returns
    -------
    torch.dtype
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def float64_device(device: str | torch.device) -> torch.device:
    """The device, or the CPU if the device has no float64.

    Parameters
    ----------
    device : str or torch.device
        The device.

    Returns
    -------
    torch.device
    """
    return torch.device("cpu" if torch.device(device).type == "mps" else device)


def take_rows(values: torch.Tensor, start: int, stop: int, like: torch.Tensor) -> torch.Tensor:
    """Rows ``start:stop`` of values in the dtype and on the device of another tensor, copied only if necessary.

    Parameters
    ----------
    values : tensor of shape (N, d)
        The values.
    start, stop : int
        First row, and the row after the last.
    like : tensor
        Has the dtype and the device of the result.

    Returns
    -------
    tensor of shape (stop - start, d)
    """
    to_gpu = like.device.type == "cuda"  # a copy to the CPU could be read before it is complete
    return values[start:stop].detach().to(device=like.device, dtype=like.dtype, non_blocking=to_gpu)


def device_chunks(values: torch.Tensor, like: torch.Tensor) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Parts of values as contiguous tensors on the device of ``like``: (start, stop, rows), in their own dtype.

    Values that are there already are one part, or several if the GPU has run out of memory. Others are copied in parts
    of `DEVICE_BYTES`.
    """
    rows = chunk_share(len(values))
    if values.device != like.device:
        rows = max(1, chunk_bytes(DEVICE_BYTES, like.device) // max(1, values[:1].numel() * values.element_size()))
    for start in range(0, len(values), max(rows, 1)):
        stop = min(start + rows, len(values))
        yield start, stop, values[start:stop].detach().to(like.device).contiguous()


def load_rows(
    values: torch.Tensor,
    start: int,
    stop: int,
    like: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rows ``start:stop`` of the values as (x - shift) / scale, in the dtype and on the device of ``like``.

    ``out`` (at least as many rows) receives the result. A buffer that all chunks share stays in the cache.
    """
    x = take_rows(values, start, stop, like)
    return torch.sub(x, shift, out=None if out is None else out[: len(x)]).div_(scale)


@documented_by(take_rows)
def standardize(
    values: torch.Tensor, shift: np.ndarray | torch.Tensor, scale: float, dtype: torch.dtype
) -> torch.Tensor:
    """Subtract a shift from all rows and divide them by a scale.

    The difference is computed in double precision, chunk by chunk, so that a large offset is harmless.

    Parameters
    ----------
    shift : array or tensor of shape (d,)
        What is subtracted.
    scale : float
        What the differences are divided by.
    dtype : torch.dtype
        Type of the result.

    Returns
    -------
    tensor of shape (N, d)
        On the device of the values.
    """
    shift = torch.as_tensor(shift, dtype=torch.float64, device=values.device)
    out = torch.empty(values.shape, dtype=dtype, device=values.device)
    for part, x in zip(out.split(DOUBLE_ROWS), values.split(DOUBLE_ROWS), strict=True):
        part.copy_(torch.sub(x.double(), shift).div_(scale))
    return out
