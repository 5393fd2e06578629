"""Kernel of `pair_products`.

Axes: n rows, d features. All sums are symmetric, so that a program computes a block of features i ≥ j and stores it
twice. It computes the products of all sums from one read of the rows, and the programs of a part of the rows run at the
same time, so that the rows are read from memory about once. The products bound the kernel if d is more than about 32.
"""

import math

import torch
import triton
import triton.language as tl

from sklinvariant.ops._kernels import launch, padded
from sklinvariant.ops.gpu._products import add_product

PROGRAMS = 1024  # into which the sums are divided, which is enough for every GPU
SINGLE_ROWS = 2048  # of which products are summed in float32, before they are added to a sum in float64


@triton.jit
def _load_pairs(rows, at, paired, is_first, dims, d, low, high):
    """Rows ``at`` that are in a pair, and the changes to the next rows of those that are the first of one; else 0."""
    inside = dims[None, :] < d
    place = at[:, None] * d + dims[None, :]
    x = tl.load(rows + place, mask=paired & inside, other=0.0) * low * high
    following = tl.load(rows + place + d, mask=is_first & inside, other=0.0) * low * high
    return x, tl.where(is_first, x - following, 0.0)


@triton.jit
def _store_twice(matrix, product, i, j, d, BLOCK_D: tl.constexpr):
    """Store block (i, j) of a symmetric matrix, and its transpose."""
    left = i * BLOCK_D + tl.arange(0, BLOCK_D)
    right = j * BLOCK_D + tl.arange(0, BLOCK_D)
    product = tl.where(i == j, (product + tl.trans(product)) / 2, product)  # else both would be stored to one place
    inside = (left[:, None] < d) & (right[None, :] < d)
    tl.store(matrix + left[:, None] * d + right[None, :], product, mask=inside)
    tl.store(matrix + right[:, None] * d + left[None, :], tl.trans(product), mask=tl.trans(inside))


@triton.jit
def _pairs_kernel(
    rows,
    follows,
    tiles,
    sums,
    n_pairs,
    d,
    size,
    low,
    high,
    n_tiles,
    rows_of_part,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SINGLE: tl.constexpr,
    FIRST: tl.constexpr,
):
    """A block of features of the sums (parts, 2 or 3, d, d) over a part of the rows."""
    tile = tl.program_id(0) % n_tiles
    part = (tl.program_id(0) // n_tiles).to(tl.int64)
    i, j = tl.load(tiles + 2 * tile), tl.load(tiles + 2 * tile + 1)
    left = i * BLOCK_D + tl.arange(0, BLOCK_D)
    right = j * BLOCK_D + tl.arange(0, BLOCK_D)
    start = part * rows_of_part
    stop = tl.minimum(start + rows_of_part, n_pairs + 1)
    total = tl.zeros((BLOCK_D, BLOCK_D), tl.float64)
    change = tl.zeros((BLOCK_D, BLOCK_D), tl.float64)
    first = tl.zeros((BLOCK_D, BLOCK_D), tl.float64)
    for outer in range(start, stop, SINGLE):
        some_total = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
        some_change = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
        some_first = tl.zeros((BLOCK_D, BLOCK_D), tl.float32)
        for inner in range(outer, tl.minimum(outer + SINGLE, stop), BLOCK_N):
            at = inner + tl.arange(0, BLOCK_N)
            live = at < stop
            starts = tl.load(follows + at, mask=live & (at < n_pairs), other=0)[:, None]
            ends = tl.load(follows + at - 1, mask=live & (at > 0), other=0)[:, None]
            roles = starts + ends
            x, x_change = _load_pairs(rows, at, roles > 0, starts > 0, left, d, low, high)
            y, y_change = _load_pairs(rows, at, roles > 0, starts > 0, right, d, low, high)
            some_total = add_product(some_total, tl.trans(x), y * roles.to(tl.float32), "ieee")
            some_change = add_product(some_change, tl.trans(x_change), y_change, "ieee")
            if FIRST:
                x_first, y_first = tl.where(starts > 0, x, 0.0), tl.where(starts > 0, y, 0.0)
                some_first = add_product(some_first, tl.trans(x_first), y_first, "ieee")
        total += some_total.to(tl.float64)
        change += some_change.to(tl.float64)
        if FIRST:
            first += some_first.to(tl.float64)
    matrix = sums + part * (3 if FIRST else 2) * size
    _store_twice(matrix, total, i, j, d, BLOCK_D)
    _store_twice(matrix + size, change, i, j, d, BLOCK_D)
    if FIRST:
        _store_twice(matrix + 2 * size, first, i, j, d, BLOCK_D)


def pair_products(
    rows: torch.Tensor, follows: torch.Tensor, scale: float, with_first: bool
) -> tuple[torch.Tensor, ...]:
    """The sums (d, d) in float64. Products are those of float32, whatever the current precision."""
    n, d = rows.shape
    block_d = padded(d, most=64)
    edge = triton.cdiv(d, block_d)
    tiles = torch.ones(edge, edge).tril().nonzero().contiguous().to(rows.device)
    parts = min(max(1, PROGRAMS // len(tiles)), triton.cdiv(n, SINGLE_ROWS))
    sums = torch.empty(parts, 3 if with_first else 2, d, d, dtype=torch.float64, device=rows.device)
    # rows · 1/scale in two steps, because 1/scale may be beyond the range of float32
    low = 2.0 ** -(math.frexp(scale)[1] // 2)
    launch(
        _pairs_kernel,
        (parts * len(tiles),),
        *(rows.contiguous(), follows.contiguous().view(torch.uint8), tiles, sums),
        *(n - 1, d, d * d, low, 1 / scale / low, len(tiles), triton.cdiv(n, parts)),
        BLOCK_N=16,
        BLOCK_D=block_d,
        SINGLE=SINGLE_ROWS,
        FIRST=with_first,
        num_warps=8,
        num_stages=1,
    )
    return tuple(sums.sum(0).unbind())
