"""Kernels of `displaced_joints`: products of one view with the displaced other one, which is never unfolded.

Axes: P pixels of all images, k clusters of one view, c columns, each a displacement and a cluster of the other view.
The other view is padded with zeros, so a column is a constant distance in memory from a pixel: ``other[p + c]``.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad

from sklinvariant._precision import computing_in, current_precision
from sklinvariant.ops._kernels import dot_precision, launch, padded
from sklinvariant.ops.gpu._products import add_product

PROGRAMS = 1024  # some for each multiprocessor; not measured on the device, so that sums have the same order everywhere
PARTIAL_BYTES = 64 << 20  # of the sums of all parts


@triton.jit
def _places(pixels, n_pixels, h, w, plane, width):
    """The places of pixels in an image of the padded view: its first channel, displaced to the upper left."""
    pixels = tl.minimum(pixels, n_pixels - 1)
    inside = pixels % (h * w)
    return (pixels // (h * w)).to(tl.int64) * plane + inside // w * width + inside % w


@triton.jit
def _joint_kernel(
    first,
    other,
    columns,
    sums,
    k,
    n_columns,
    n_pixels,
    h,
    w,
    plane,
    width,
    blocks,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
    PRECISION: tl.constexpr,
    INDEX: tl.constexpr,
):
    """Σ_p first[i, p] other[p + c] over some blocks of pixels.

    A number of the other view is loaded from the cache for each column, and multiplied k times. With few clusters
    these loads limit the speed, otherwise the products.
    """
    part = tl.program_id(0)
    clusters = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    offset = tl.load(columns + column, mask=column < n_columns, other=0)
    total = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    for block in range(blocks):
        pixels = (part.to(INDEX) * blocks + block) * BLOCK_P + tl.arange(0, BLOCK_P)
        start = (pixels // (h * w)).to(tl.int64) * k * (h * w) + pixels % (h * w)
        inside = (clusters[:, None] < k) & (pixels[None, :] < n_pixels)
        x = tl.load(first + start[None, :] + clusters[:, None] * (h * w), mask=inside, other=0.0)
        places = _places(pixels, n_pixels, h, w, plane, width)
        y = tl.load(other + places[None, :] + offset[:, None])
        total = add_product(total, x, tl.trans(y), PRECISION)
    target = (part.to(tl.int64) * k + clusters[:, None]) * n_columns + column[None, :]
    tl.store(sums + target, total, mask=(clusters[:, None] < k) & (column[None, :] < n_columns))


@triton.jit
def _spread_kernel(
    weights,
    other,
    columns,
    result,
    k,
    n_columns,
    n_pixels,
    h,
    w,
    plane,
    width,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
    PRECISION: tl.constexpr,
    INDEX: tl.constexpr,
):
    """Σ_c weights[i, c] other[p + c]: the gradient of one view. It is limited as `_joint_kernel` is."""
    pixels = tl.program_id(0).to(INDEX) * BLOCK_P + tl.arange(0, BLOCK_P)
    clusters = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    places = _places(pixels, n_pixels, h, w, plane, width)
    total = tl.zeros((BLOCK_K, BLOCK_P), tl.float32)
    for start in range(0, n_columns, BLOCK_C):
        column = start + tl.arange(0, BLOCK_C)
        offset = tl.load(columns + column, mask=column < n_columns, other=0)
        inside = (clusters[:, None] < k) & (column[None, :] < n_columns)
        x = tl.load(weights + clusters[:, None] * n_columns + column[None, :], mask=inside, other=0.0)
        y = tl.load(other + places[None, :] + offset[:, None])
        total = add_product(total, x, y, PRECISION)
    start = (pixels // (h * w)).to(tl.int64) * k * (h * w) + pixels % (h * w)
    target = start[None, :] + clusters[:, None] * (h * w)
    tl.store(result + target, total, mask=(clusters[:, None] < k) & (pixels[None, :] < n_pixels))


@torch.compiler.disable  # a compiled network calls it as it is
def displaced_joints(first: torch.Tensor, second: torch.Tensor, half_window: int) -> torch.Tensor:
    """Sums over pixels u and images of ``first[:, i, u] * second[:, j, u + t]``: (D, D, k, q) float32."""
    return _DisplacedJoints.apply(first, second, half_window)  # type: ignore[no-untyped-call]


class _DisplacedJoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: torch.Tensor, second: torch.Tensor, half_window: int) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(first, second)
        ctx.half_window, ctx.precision = half_window, current_precision()
        return _joints(first, second, half_window)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:  # type: ignore[override]
        first, second = ctx.saved_tensors
        weights = gradient.permute(2, 0, 1, 3)  # (k, D, D, q)
        with computing_in(ctx.precision):  # the backward pass runs in another thread
            return (
                _spread(weights, second, ctx.half_window, first.dtype) if ctx.needs_input_grad[0] else None,
                # the second view sees the first one at the opposite displacements
                _spread(weights.permute(3, 1, 2, 0).flip(1, 2), first, ctx.half_window, second.dtype)
                if ctx.needs_input_grad[1]
                else None,
                None,
            )


def _joints(first, second, d):
    (n, k, h, w), q, width = first.shape, second.shape[1], 2 * d + 1
    n_pixels, n_columns = n * h * w, width * width * q
    if n_pixels == 0:
        return first.new_zeros(width, width, k, q, dtype=torch.float32)
    other, columns = _padded(second, d)
    block_k, block_c, block_p = padded(k, most=64), 64, 32
    around = triton.cdiv(n_columns, block_c), triton.cdiv(k, block_k)
    most = min(triton.cdiv(PROGRAMS, around[0] * around[1]), max(1, PARTIAL_BYTES // (4 * k * n_columns)))
    blocks = triton.cdiv(triton.cdiv(n_pixels, block_p), most)
    parts = triton.cdiv(triton.cdiv(n_pixels, block_p), blocks)
    sums = torch.empty(parts, k, n_columns, dtype=torch.float32, device=first.device)
    launch(
        _joint_kernel,
        (parts, *around),
        *(first.contiguous(), other, columns, sums),
        *(k, n_columns, n_pixels, h, w, other[0].numel(), w + 2 * d, blocks),
        BLOCK_K=block_k,
        BLOCK_C=block_c,
        BLOCK_P=block_p,
        PRECISION=dot_precision(first, second),
        INDEX=_index_dtype(n_pixels),
    )
    return sums.sum(0).view(k, width, width, q).permute(1, 2, 0, 3)


def _spread(weights, view, d, dtype):
    """Σ_t,j weights[i, t, j] view[:, j, u + t] of each pixel u: (n, k, h, w)."""
    k, (n, _, h, w) = len(weights), view.shape
    result = torch.empty(n, k, h, w, dtype=dtype, device=view.device)
    n_pixels = n * h * w
    if n_pixels == 0:
        return result
    weights = weights.reshape(k, -1).contiguous()
    other, columns = _padded(view, d)
    block_k = padded(k, most=64)
    block_p = 64 if block_k == 64 else 128
    launch(
        _spread_kernel,
        (triton.cdiv(n_pixels, block_p), triton.cdiv(k, block_k)),
        *(weights, other, columns, result, k, weights.shape[1], n_pixels, h, w, other[0].numel(), w + 2 * d),
        BLOCK_K=block_k,
        BLOCK_C=32,
        BLOCK_P=block_p,
        PRECISION=dot_precision(view),
        INDEX=_index_dtype(n_pixels),
    )
    return result


def _index_dtype(n_pixels):
    """The type of the number of a pixel; divisions of 64 bits are slow."""
    return tl.int32 if n_pixels < 2**30 else tl.int64


def _padded(view, d):
    """A view with d pixels of zeros at each side, and the distance in memory of each column (D D q,) from a pixel."""
    other = pad(view, (d, d, d, d)).contiguous()
    channels, height, width = other.shape[1:]
    right = torch.arange(2 * d + 1, device=view.device)
    channel = height * width * torch.arange(channels, device=view.device)
    return other, (width * right[:, None, None] + right[:, None] + channel).view(-1)
