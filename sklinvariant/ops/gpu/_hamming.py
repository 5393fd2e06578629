"""Kernel of `nearest_codes`.

The distances of all codes are compared with the distance of the k-th nearest code so far, and only nearer codes are
kept. The ranges of codes that are searched between two updates of this distance grow by a factor, so that each range
is expected to hold a limited number of candidates, and each code is read once for all queries of a block. Rows rise,
so a code at the distance of the k-th nearest one is not kept: codes that are all alike give no candidates.
"""

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad

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
def _distance(code, next_code, place, plane, query, WORDS: tl.constexpr, INSTRUCTION: tl.constexpr):
    """The number of bits that differ between codes and a query. The first two words of the codes are loaded already."""
    distance = _count_bits(code ^ tl.load(query), INSTRUCTION)
    if WORDS > 1:
        distance += _count_bits(next_code ^ tl.load(query + 1), INSTRUCTION)
    for word in range(2, WORDS):
        distance += _count_bits(tl.load(place + word * plane) ^ tl.load(query + word), INSTRUCTION)
    return distance


@triton.jit
def _near_kernel(
    words,
    queries,
    limits,
    removed,
    keys,
    counts,
    first,
    start,
    stop,
    stride,
    steps,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WORDS: tl.constexpr,
    SLOTS: tl.constexpr,
    KEY_BITS: tl.constexpr,
    MASKED: tl.constexpr,
    INSTRUCTION: tl.constexpr,
):
    """Append the keys of codes whose distance from a query is below its limit.

    It is limited by the memory bandwidth with one or two queries, and by the rate of counting bits with more: for each
    word and query one xor, one count (of which a multiprocessor issues 16 per cycle) and one addition. Candidates are
    rare, and the steps for them are skipped in most blocks. The place of a candidate comes from an atomic addition, so
    the order of candidates varies; the keys are then sorted, and all differ, so the result does not vary.
    """
    first_query = tl.program_id(1) * BLOCK_Q
    offset = tl.arange(0, BLOCK_N)
    plane = stride.to(tl.int64)
    for i in range(steps):
        block = start + (tl.program_id(0) + i * tl.num_programs(0)).to(tl.int64) * BLOCK_N
        place = words + block + offset  # a block that ends after the codes reads the space after a plane
        code = tl.load(place)
        next_code = code
        if WORDS > 1:
            next_code = tl.load(place + plane)
        inside = block + offset < stop
        found = tl.zeros((BLOCK_N,), tl.int32)
        for q in tl.static_range(BLOCK_Q):
            query = first_query + q
            distance = _distance(code, next_code, place, plane, queries + query * WORDS, WORDS, INSTRUCTION)
            found |= (distance < tl.load(limits + query)).to(tl.int32)
        if tl.max(tl.where(inside, found, 0), axis=0) > 0:
            kept = inside
            if MASKED:
                kept = inside & (tl.load(removed + block + offset, mask=inside, other=0) == 0)
            for number in range(BLOCK_Q):
                own = first_query + number
                exact = _distance(code, next_code, place, plane, queries + own * WORDS, WORDS, INSTRUCTION)
                near = kept & (exact < tl.load(limits + own))
                ones = near.to(tl.int32)
                before = tl.atomic_add(counts + own, tl.sum(ones, axis=0).to(tl.int64), sem="relaxed")
                slot = before + tl.cumsum(ones, axis=0) - 1
                key = (exact.to(tl.int64) << KEY_BITS) | (first + block + offset)
                tl.store(keys + own.to(tl.int64) * SLOTS + slot, key, mask=near & (slot < SLOTS))


def nearer_keys(
    best: torch.Tensor, block: BitPlanes, queries: torch.Tensor, first: int, removed: torch.Tensor | None
) -> torch.Tensor:
    """The torch operator ``_nearer_keys`` as a kernel: the smallest keys (q, k) of ``best`` and of a block."""
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
    n_queries, n_words = queries.shape
    block_q, block_n = padded(n_queries, least=1, most=8), 2048
    around, n_blocks = triton.cdiv(n_queries, block_q), triton.cdiv(stop - start, block_n)
    steps = triton.cdiv(n_blocks, max(1, PROGRAMS // around))
    spare = around * block_q - n_queries  # queries that no code is near
    limits = pad((best[:, -1] >> KEY_BITS).int(), (0, spare))
    counts = torch.zeros(n_queries + spare, dtype=torch.int64, device=best.device)
    slots.fill_(NO_KEY)
    launch(
        _near_kernel,
        (triton.cdiv(n_blocks, steps), around),
        *(block.words, pad(queries, (0, 0, 0, spare)), limits),
        *(limits if removed is None else removed.view(torch.uint8), slots, counts),
        *(first, start, stop, block.words.shape[1], steps),
        BLOCK_Q=block_q,
        BLOCK_N=block_n,
        WORDS=n_words,
        SLOTS=SLOTS,
        KEY_BITS=KEY_BITS,
        MASKED=removed is not None,
        INSTRUCTION=counts_bits(),
        num_warps=8,
    )
    most = int(counts.max())
    return None if most > SLOTS else slots[:, :most]
