"""Kernel of `nearest_codes`.

The distances of all codes are compared with the distance of the k-th nearest code so far, and only nearer codes are
kept. The ranges of codes that are searched between two updates of this distance grow by a factor, so that each range
is expected to hold a limited number of candidates, and each code is read once for all queries of a block. Rows rise,
so a code at the distance of the k-th nearest one is not kept: codes that are all alike give no candidates.
"""

import torch
import triton
import triton.language as tl

from sklinvariant.ops._hamming import KEY_BITS, NO_KEY, BitPlanes, smallest_keys
from sklinvariant.ops._kernels import counts_bits, launch, padded

SLOTS = 1 << 15  # candidates of a query in a range, and codes in the first range
GROWTH = 256  # the most by which a range grows; there are then two more ranges up to 500 million codes
PROGRAMS = 2048


@triton.jit
def _count_bits(words, INSTRUCTION: tl.constexpr):
    """The number of bits of each int32 that are 1."""
    if INSTRUCTION:
        return tl.inline_asm_elementwise("popc.b32 $0, $1;", "=r,r", [words], dtype=tl.int32, is_pure=True, pack=1)
    else:
        words -= (words >> 1) & 0x55555555
        words = (words & 0x33333333) + ((words >> 2) & 0x33333333)
        words = (words + (words >> 4)) & 0x0F0F0F0F
        words += words >> 8
        return (words + (words >> 16)) & 0x3F


@triton.jit
def _differing_bits(code, queries, query, asked, word, WORDS: tl.constexpr, INSTRUCTION: tl.constexpr):
    part = tl.load(queries + query * WORDS + word, mask=asked, other=0)
    return _count_bits(code[None, :] ^ part[:, None], INSTRUCTION)


@triton.jit
def _near_kernel(
    words,
    queries,
    best,
    removed,
    keys,
    counts,
    first,
    start,
    stop,
    stride,
    n_queries,
    k,
    steps,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WORDS: tl.constexpr,
    SLOTS: tl.constexpr,
    KEY_BITS: tl.constexpr,
    MASKED: tl.constexpr,
    INSTRUCTION: tl.constexpr,
):
    """Append the keys of codes that are nearer than the k-th best key so far.

    It is limited by the memory bandwidth with one or two queries, and by the rate of counting bits with more: for each
    word and query one xor, one count (of which a multiprocessor issues 16 per cycle) and one addition. Candidates are
    rare, and the steps for them are skipped in most blocks. The place of a candidate comes from an atomic addition, so
    the order of candidates varies; the keys are then sorted, and all differ, so the result does not vary.
    """
    query = tl.program_id(1) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    asked = query < n_queries
    worst = tl.load(best + query * k + k - 1, mask=asked, other=0)
    limit = (worst >> KEY_BITS).to(tl.int32)
    offset = tl.arange(0, BLOCK_N)
    plane = stride.to(tl.int64)
    for i in range(steps):
        block = start + (tl.program_id(0) + i * tl.num_programs(0)).to(tl.int64) * BLOCK_N
        distance = tl.zeros((BLOCK_Q, BLOCK_N), tl.int32)
        place = words + block + offset  # a block that ends after the codes reads the space after a plane
        if WORDS <= 4:
            for word in tl.static_range(WORDS):
                code = tl.load(place + word * plane)
                distance += _differing_bits(code, queries, query, asked, word, WORDS, INSTRUCTION)
        else:
            for word in range(WORDS):
                code = tl.load(place + word * plane)
                distance += _differing_bits(code, queries, query, asked, word, WORDS, INSTRUCTION)
        inside = block + offset < stop
        near = (distance < limit[:, None]) & inside[None, :]
        if tl.max(tl.max(near.to(tl.int32), axis=1), axis=0) > 0:
            if MASKED:
                gone = tl.load(removed + block + offset, mask=inside, other=0)
                near = near & (gone == 0)[None, :]
            number = near.to(tl.int32)
            total = tl.sum(number, axis=1).to(tl.int64)
            before = tl.atomic_add(counts + query, total, mask=asked & (total > 0), sem="relaxed")
            slot = before[:, None] + tl.cumsum(number, axis=1) - 1
            key = (distance.to(tl.int64) << KEY_BITS) | (first + block + offset)[None, :]
            tl.store(keys + query[:, None].to(tl.int64) * SLOTS + slot, key, mask=near & (slot < SLOTS))


def nearer_keys(
    best: torch.Tensor, block: BitPlanes, queries: torch.Tensor, first: int, removed: torch.Tensor | None
) -> torch.Tensor:
    """The smallest keys (q, k) of those in ``best`` and those of a block, whose rows are numbered from ``first``."""
    (n_queries, k), start, size = best.shape, 0, SLOTS
    growth = min(max(SLOTS // (4 * k), 2), GROWTH)
    slots = torch.empty(n_queries, SLOTS, dtype=torch.int64, device=best.device)
    ranges = []
    while start < block.n:
        ranges.append((start, min(start + size, block.n)))
        start += size
        size = (growth - 1) * start
    ranges.reverse()
    while ranges:
        start, stop = ranges.pop()
        found = _candidates(best, block, queries, first, start, stop, removed, slots)
        if found is None:  # codes come in an order in which later ones are nearer
            middle = start + (stop - start) // 64 * 32  # aligned as planes are
            ranges += [(middle, stop), (start, middle)]
        else:
            best = smallest_keys(best, found)
    return best


def _candidates(best, block, queries, first, start, stop, removed, slots):
    """Keys of the codes ``start:stop`` that may be smaller than the best ones; None if there are too many."""
    n_queries, k = best.shape
    block_q = padded(n_queries, least=1, most=8)
    block_n = max(2048 // block_q, 512)
    slots.fill_(NO_KEY)
    counts = torch.zeros(n_queries, dtype=torch.int64, device=best.device)
    around, n_blocks = triton.cdiv(n_queries, block_q), triton.cdiv(stop - start, block_n)
    steps = triton.cdiv(n_blocks, max(1, PROGRAMS // around))
    launch(
        _near_kernel,
        (triton.cdiv(n_blocks, steps), around),
        *(block.words, queries, best, best if removed is None else removed.view(torch.uint8), slots, counts),
        *(first, start, stop, block.words.shape[1], n_queries, k, steps),
        BLOCK_Q=block_q,
        BLOCK_N=block_n,
        WORDS=len(block.words),
        SLOTS=SLOTS,
        KEY_BITS=KEY_BITS,
        MASKED=removed is not None,
        INSTRUCTION=counts_bits(),
        num_warps=8,
    )
    most = int(counts.max())
    return None if most > SLOTS else slots[:, :most]
