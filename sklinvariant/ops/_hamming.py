"""The nearest binary codes of queries by Hamming distance, by comparison with all codes, on any device.

Axes: n codes of W words of 32 bits, q queries, k neighbours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._kernels import has_kernel
from sklinvariant.ops._memory import DEVICE_BYTES, chunk_bytes, chunk_share

QUERIES = 256  # compared at a time, so that their candidates need 64 MB
KEY_BITS = 40  # of a row in a key; the others hold the distance
NO_KEY = (1 << 63) - 1  # after the keys of all codes
SPARE = 1 << 12  # words after each plane, which a kernel may read


class BitPlanes(NamedTuple):
    """Codes as planes of 32 bits: the first words of all codes, then the second words, and so on.

    Neighbouring threads of a GPU then read neighbouring words, whatever the length of a code.

    Parameters
    ----------
    words : int32 tensor of shape (W, n + spare)
        Word w of code i is ``words[w, i]``. The spare words after the last code have no meaning.
    n : int
        Number of codes.
    """

    words: torch.Tensor
    n: int


def bit_planes(codes: np.ndarray, device: str | torch.device) -> BitPlanes:
    """Copy packed codes to a device as `BitPlanes`, part by part.

    Parameters
    ----------
    codes : uint8 array of shape (n, n_bytes)
        Codes of 8 bits in each byte.
    device : str or torch.device
        Device of the result.

    Returns
    -------
    BitPlanes
    """
    n, n_bytes = codes.shape
    n_words = -(-n_bytes // 4)
    words = torch.empty(n_words, -(-n // SPARE) * SPARE + SPARE, dtype=torch.int32, device=device)
    rows = max(1, chunk_bytes(DEVICE_BYTES, device) // (4 * n_words))
    for start in range(0, n, rows):
        part = torch.from_numpy(np.array(codes[start : start + rows], order="C")).to(device)
        part = torch.nn.functional.pad(part, (0, 4 * n_words - n_bytes))
        words[:, start : start + len(part)] = part.view(torch.int32).T
    return BitPlanes(words, n)


@in_own_precision
def nearest_codes(
    blocks: Sequence[BitPlanes], queries: BitPlanes, k: int, removed: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest codes of each query by Hamming distance, nearest first.

    Ties are resolved in favour of the lower row. On a GPU a kernel reads each code about once for 8 queries.

    Parameters
    ----------
    blocks : sequence of BitPlanes
        The codes. Their rows are counted through all blocks.
    queries : BitPlanes
        The codes of q queries, with as many words.
    k : int
        Number of codes to find for each query.
    removed : bool tensor of shape (n,) or None, default=None
        Which codes of all blocks to leave out; at least k must remain.

    Returns
    -------
    distances : int32 tensor of shape (q, k)
        Numbers of different bits.
    rows : int64 tensor of shape (q, k)
        Rows of the codes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.ops import bit_planes, nearest_codes
    >>> codes, query = np.array([[0b000], [0b111], [0b001]], np.uint8), np.array([[0b000]], np.uint8)
    >>> distances, rows = nearest_codes([bit_planes(codes, "cpu")], bit_planes(query, "cpu"), k=2)
    >>> distances.tolist(), rows.tolist()
    ([[0, 1]], [[0, 2]])
    """
    asked = queries.words[:, : queries.n].T.contiguous()  # (q, W)
    parts = [_nearest_keys(blocks, part, k, removed) for part in asked.split(chunk_share(QUERIES)) if len(part)]
    keys = torch.cat([asked.new_empty(0, k, dtype=torch.int64), *parts])
    return (keys >> KEY_BITS).int(), keys & ((1 << KEY_BITS) - 1)


def _nearest_keys(blocks, queries, k, removed):
    best = torch.full((len(queries), k), NO_KEY, dtype=torch.int64, device=queries.device)
    first = 0
    for block in blocks:
        gone = None if removed is None else removed[first : first + block.n]
        if has_kernel(block.words, dtypes=(torch.int32,)):
            from sklinvariant.ops.gpu._hamming import nearer_keys

            best = nearer_keys(best, block, queries, first, gone)
        else:
            best = _nearer_keys(best, block, queries, first, gone)
        first += block.n
    return best


def _nearer_keys(best, block, queries, first, removed):
    """The smallest keys (q, k) of those in ``best`` and those of a block, whose rows are numbered from ``first``.

    A key is a distance and a row as one number, so that the order of keys is that of neighbours.
    """
    rows = max(1, chunk_bytes(DEVICE_BYTES, queries.device) // (32 * len(queries)))
    for start in range(0, block.n, rows):
        stop = min(start + rows, block.n)
        distances = torch.zeros(len(queries), stop - start, dtype=torch.int32, device=queries.device)
        for word, asked in zip(block.words, queries.T, strict=True):
            distances += _count_bits(word[start:stop] ^ asked[:, None])
        numbers = torch.arange(first + start, first + stop, device=queries.device)
        keys = (distances.long() << KEY_BITS) | numbers
        if removed is not None:
            keys.masked_fill_(removed[start:stop], NO_KEY)
        best = smallest_keys(best, keys)
    return best


def smallest_keys(best: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The smallest of the keys (q, k) and (q, m), in order: (q, k)."""
    return torch.cat([best, keys], dim=1).topk(best.shape[1], largest=False, sorted=True).values


def _count_bits(words):
    """The number of bits of each word that are 1, counted in parallel in fields of 2, 4 and 8 bits."""
    words = words - ((words >> 1) & 0x55555555)
    words = (words & 0x33333333) + ((words >> 2) & 0x33333333)
    words = (words + (words >> 4)) & 0x0F0F0F0F
    words = words + (words >> 8)
    return (words + (words >> 16)) & 0x3F
