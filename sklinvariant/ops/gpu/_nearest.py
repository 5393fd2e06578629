"""Kernels of `nearest_codewords` and `sum_by_label`.

Axes: N rows, d features, k codewords or labels. A block holds some of each, and scores never leave the registers.
"""

import torch
import triton
import triton.language as tl

from sklinvariant.ops._chunks import device_chunks
from sklinvariant.ops._kernels import dot_precision, launch, padded
from sklinvariant.ops.gpu._products import add_product, load_rows

ROWS_OF_PART = 512  # rows of a label that one program sums, on average


@triton.jit
def _nearest_kernel(
    values,
    weight,
    bias,
    shift,
    scale,
    labels,
    distances,
    n,
    k,
    d,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WHOLE: tl.constexpr,
    DISTANCE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The largest of weight (k, d) · z + bias (k,) for each row z; the rows stay in registers if d fits a block."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    dims = tl.arange(0, BLOCK_D)
    unit = tl.load(scale)
    best = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    label = tl.zeros((BLOCK_N,), tl.int32)
    if WHOLE:
        x = load_rows(values, rows, rows < n, dims, d, shift) / unit
    for first in range(0, k, BLOCK_K):
        words = first + tl.arange(0, BLOCK_K)
        scores = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
        if WHOLE:
            inside = (words[None, :] < k) & (dims[:, None] < d)
            w = tl.load(weight + words[None, :] * d + dims[:, None], mask=inside, other=0.0)
            scores = add_product(scores, x, w, PRECISION)
        else:
            for start in range(0, d, BLOCK_D):
                part = start + dims
                z = load_rows(values, rows, rows < n, part, d, shift) / unit
                inside = (words[None, :] < k) & (part[:, None] < d)
                w = tl.load(weight + words[None, :] * d + part[:, None], mask=inside, other=0.0)
                scores = add_product(scores, z, w, PRECISION)
        scores += tl.load(bias + words, mask=words < k, other=float("-inf"))[None, :]
        largest, place = tl.max(scores, axis=1, return_indices=True, return_indices_tie_break_left=True)
        label = tl.where(largest > best, first + place, label)
        best = tl.maximum(best, largest)
    tl.store(labels + rows, label.to(tl.int64), mask=rows < n)
    if DISTANCE:
        square = tl.zeros((BLOCK_N,), tl.float32)
        for start in range(0, d, BLOCK_D):
            z = load_rows(values, rows, rows < n, start + dims, d, shift) / unit
            square += tl.sum(z * z, axis=1)
        tl.store(distances + rows, tl.maximum(square - best, 0.0) * unit * unit, mask=rows < n)


def nearest_labels(
    values: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    return_distance: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of the largest of weight (k, d) · z + bias (k,) for each z = (x - shift) / scale, and |z - w|² scale²."""
    k, d = weight.shape
    labels = torch.empty(len(values), dtype=torch.int64, device=weight.device)
    distances = torch.empty(len(values) if return_distance else 0, dtype=torch.float32, device=weight.device)
    precision = dot_precision(values)
    exact = precision == "ieee"  # without tensor cores, which need larger blocks
    whole = d <= (64 if exact else 128)
    block_n, block_k = (64, padded(k, most=64)) if exact else (128, padded(k))
    block_d = padded(d)
    if not whole:  # larger blocks would not fit the registers
        block_n, block_k, block_d = (32, padded(k, most=64), 32) if exact else (64, padded(k), 32)
    if precision.startswith("bf16"):
        weight = weight.to(torch.bfloat16)
    for start, stop, x in device_chunks(values, weight):
        launch(
            _nearest_kernel,
            (triton.cdiv(len(x), block_n),),
            *(x, weight, bias, shift, scale, labels[start:stop], distances[start:stop], len(x), k, d),
            BLOCK_N=block_n,
            BLOCK_K=block_k,
            BLOCK_D=block_d,
            WHOLE=whole,
            DISTANCE=return_distance,
            PRECISION=precision,
            num_warps=4 if exact else 8,
            num_stages=1 if exact else 2,
        )
    return labels, distances


@triton.jit
def _sum_kernel(
    values,
    weights,
    shift,
    scale,
    order,
    edges,
    sums,
    k,
    d,
    parts,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WEIGHTED: tl.constexpr,
    SHIFTED: tl.constexpr,
):
    """Sum a part of the rows of one label, which ``order`` lists from ``edges[label]``, in the order of the rows."""
    label, part = tl.program_id(0), tl.program_id(1)
    dims = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    first, last = tl.load(edges + label), tl.load(edges + label + 1)
    start = first + (last - first) * part // parts
    stop = first + (last - first) * (part + 1) // parts
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for i in range(start, stop, BLOCK_N):
        places = i + tl.arange(0, BLOCK_N)
        rows = tl.load(order + places, mask=places < stop, other=0)
        if SHIFTED:
            x = load_rows(values, rows, places < stop, dims, d, shift) / tl.load(scale)
        else:
            inside = (places[:, None] < stop) & (dims[None, :] < d)
            x = tl.load(values + rows[:, None] * d + dims[None, :], mask=inside, other=0.0).to(tl.float32)
        if WEIGHTED:
            x *= tl.load(weights + rows, mask=places < stop, other=0.0).to(tl.float32)[:, None]
        total += x
    target = (part * k + label).to(tl.int64) * d + dims
    tl.store(sums + target, tl.sum(total, axis=0), mask=dims < d)


def sum_by_label(
    values: torch.Tensor,
    labels: torch.Tensor,
    k: int,
    weights: torch.Tensor | None = None,
    shift: torch.Tensor | None = None,
    scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum of weights · (rows - shift) / scale of each label: (k, d) float32.

    The rows are sorted by label, so the sums have a fixed order.
    """
    d = values.shape[1]
    order = labels.argsort(stable=True)
    edges = torch.zeros(k + 1, dtype=torch.int64, device=labels.device)
    torch.cumsum(torch.bincount(labels, minlength=k), 0, out=edges[1:])
    parts = min(max(1, len(values) // (ROWS_OF_PART * k)), 256)
    sums = torch.empty(parts, k, d, dtype=torch.float32, device=values.device)
    block_d = padded(d)
    launch(
        _sum_kernel,
        (k, parts, triton.cdiv(d, block_d)),
        *(values, values if weights is None else weights),
        *(values if shift is None else shift, values if scale is None else scale),
        *(order, edges, sums, k, d, parts),
        BLOCK_N=max(4, 2048 // block_d),
        BLOCK_D=block_d,
        WEIGHTED=weights is not None,
        SHIFTED=shift is not None,
    )
    return sums.sum(0)
