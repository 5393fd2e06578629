"""Kernels of `soft_moments`, forward and backward.

Axes: N rows, n bags, k codewords, d features. Blocks of scores (rows, codewords) or (codewords, rows) stay in registers
and are computed again by each kernel, because storing them would take N × k numbers. A softmax over more codewords
than a block holds needs a pass for the largest score and the sum of each row before the pass for the moments.

The matrix products bound all kernels: with p = 1, or 2 for quadratic scores, a row takes 4 p k d operations for the
scores of both passes and 2 ``order`` k d for the moments, and is read from memory once or twice.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from sklinvariant.ops._chunks import device_chunks
from sklinvariant.ops._kernels import dot_precision, launch, padded
from sklinvariant.ops._nearest import sum_by_label
from sklinvariant.ops.gpu._products import add_product

PROGRAMS = 1024  # into which a sum over rows is split, which is enough for every GPU
LEAST_ROWS = 512  # of a program, so that adding the sums of programs is comparatively cheap


@triton.jit
def _load_rows(values, rows, live, dims, d, shift, root):
    """(values - shift) / scale of a block of rows in float32, 0 outside. ``root`` = 1/√scale: 1/scale may overflow."""
    inside = live[:, None] & (dims[None, :] < d)
    x = tl.load(values + rows[:, None] * d + dims[None, :], mask=inside, other=0.0).to(tl.float32)
    moved = (x - tl.load(shift + dims, mask=dims < d, other=0.0)[None, :]) * root * root
    return tl.where(inside, moved, 0.0)


@triton.jit
def _load_words(matrix, words, columns, inside, width):
    """A block of a matrix with a row of ``width`` numbers for each codeword."""
    return tl.load(matrix + words[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _add_forms(
    total,
    values,
    rows,
    live,
    matrix,
    words,
    k,
    d,
    shift,
    root,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    AXIS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """total + matrix (k, d) · z, or matrix (k, 2d) · (z, z²), for a block of rows and codewords.

    ``AXIS`` is the axis of the codewords. A few features are read at a time: more would take too many registers.
    """
    for start in range(0, d, STEP):
        dims = start + tl.arange(0, STEP)
        z = _load_rows(values, rows, live, dims, d, shift, root)
        inside = (words[:, None] < k) & (dims[None, :] < d)
        for power in tl.static_range(POWERS):
            w = _load_words(matrix, words, power * d + dims, inside, POWERS * d)
            raised = z * z if power else z
            if AXIS == 0:
                total = add_product(total, w, tl.trans(raised), PRECISION)
            else:
                total = add_product(total, raised, tl.trans(w), PRECISION)
    return total


@triton.jit
def _scores(
    values,
    rows,
    live,
    weight,
    bias,
    words,
    k,
    d,
    shift,
    root,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    AXIS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Scores of a block of rows and codewords; -inf for codewords beyond the last."""
    total = tl.zeros((words.shape[0], rows.shape[0]) if AXIS == 0 else (rows.shape[0], words.shape[0]), tl.float32)
    total = _add_forms(total, values, rows, live, weight, words, k, d, shift, root, STEP, POWERS, AXIS, PRECISION)
    return total + tl.expand_dims(tl.load(bias + words, mask=words < k, other=float("-inf")), 1 - AXIS)


@triton.jit
def _slopes(
    values,
    rows,
    live,
    grad_mass,
    grad_sums,
    bag,
    words,
    k,
    d,
    shift,
    root,
    STEP: tl.constexpr,
    ORDER: tl.constexpr,
    AXIS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradient of a block of posteriors of rows of one bag."""
    total = tl.zeros((words.shape[0], rows.shape[0]) if AXIS == 0 else (rows.shape[0], words.shape[0]), tl.float32)
    if ORDER > 0:
        matrix = grad_sums + bag * k * (ORDER * d)
        total = _add_forms(total, values, rows, live, matrix, words, k, d, shift, root, STEP, ORDER, AXIS, PRECISION)
    return total + tl.expand_dims(tl.load(grad_mass + bag * k + words, mask=words < k, other=0.0), 1 - AXIS)


@triton.jit
def _posteriors(scores, norms, rows, live, n, ALONE: tl.constexpr, AXIS: tl.constexpr):
    """Softmax of a block of scores; 0 for rows outside. ``ALONE``: the block has all codewords."""
    if ALONE:
        share = tl.exp(scores - tl.expand_dims(tl.max(scores, axis=AXIS), AXIS))
        q = share / tl.expand_dims(tl.sum(share, axis=AXIS), AXIS)
    else:
        largest = tl.load(norms + rows, mask=live, other=0.0)
        total = tl.load(norms + n + rows, mask=live, other=1.0)
        q = tl.exp(scores - tl.expand_dims(largest, AXIS)) * tl.expand_dims(1.0 / total, AXIS)
    return tl.where(tl.expand_dims(live, AXIS), q, 0.0)


@triton.jit
def _norms_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    tiles,
    grad_mass,
    grad_sums,
    n,
    k,
    d,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    SLOPES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The largest score, Σ_k exp(score - largest) and, with ``SLOPES``, Σ_k q_k slope_k of each row: norms (2 or 3, n).

    With ``SLOPES`` the rows of a program belong to one bag.
    """
    tile = tl.program_id(0).to(tl.int64)
    start, stop, bag = tile * BLOCK_N, n, tile
    if SLOPES:
        start, stop, bag = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    rows = start + tl.arange(0, BLOCK_N)
    live = rows < stop
    root = tl.load(root)
    largest = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    slope = tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, k, BLOCK_K):
        words = first + tl.arange(0, BLOCK_K)
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 1, PRECISION)
        most = tl.maximum(largest, tl.max(scores, axis=1))
        base = tl.where(most == float("-inf"), 0.0, most)
        share = tl.exp(scores - base[:, None])
        before = tl.exp(largest - base)
        total = total * before + tl.sum(share, axis=1)
        if SLOPES:
            slopes = _slopes(
                values, rows, live, grad_mass, grad_sums, bag, words, k, d, shift, root, STEP, ORDER, 1, PRECISION
            )
            slope = slope * before + tl.sum(share * slopes, axis=1)
        largest = most
    tl.store(norms + rows, largest, mask=live)
    tl.store(norms + n + rows, total, mask=live)
    if SLOPES:
        tl.store(norms + n + n + rows, slope / total, mask=live)


@triton.jit
def _moments_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    parts,
    row_weights,
    mass,
    sums,
    n,
    k,
    d,
    word_blocks,
    dim_blocks,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIMS: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    ALONE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The moments of a part of a bag, for a block of codewords and features. Programs of a part are neighbours."""
    program = tl.program_id(0)
    words = program % word_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    dims = program // word_blocks % dim_blocks * DIMS + tl.arange(0, DIMS)
    part = (program // (word_blocks * dim_blocks)).to(tl.int64)
    start, stop, slot = tl.load(parts + 3 * part), tl.load(parts + 3 * part + 1), tl.load(parts + 3 * part + 2)
    root = tl.load(root)
    count = tl.zeros((BLOCK_K,), tl.float32)
    first = tl.zeros((BLOCK_K, DIMS), tl.float32)
    second = tl.zeros((BLOCK_K, DIMS), tl.float32)
    for i in range(start, stop, BLOCK_N):
        rows = i + tl.arange(0, BLOCK_N)
        live = rows < stop
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 0, PRECISION)
        q = _posteriors(scores, norms, rows, live, n, ALONE, 0)
        if WEIGHTED:
            q *= tl.load(row_weights + rows, mask=live, other=0.0)[None, :]
        count += tl.sum(q, axis=1)
        if ORDER > 0:
            z = _load_rows(values, rows, live, dims, d, shift, root)
            first = add_product(first, q, z, PRECISION)
        if ORDER > 1:
            second = add_product(second, q, z * z, PRECISION)
    if program // word_blocks % dim_blocks == 0:
        tl.store(mass + slot * k + words, count, mask=words < k)
    if ORDER > 0:
        inside = (words[:, None] < k) & (dims[None, :] < d)
        target = sums + slot * k * (ORDER * d) + words[:, None] * (ORDER * d) + dims[None, :]
        tl.store(target, first, mask=inside)
        if ORDER > 1:
            tl.store(target + d, second, mask=inside)


@triton.jit
def _weight_gradient_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    tiles,
    grad_mass,
    grad_sums,
    grad_weight,
    grad_bias,
    n,
    k,
    d,
    n_tiles,
    groups,
    word_blocks,
    dim_blocks,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIMS: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    ALONE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of a block of weights and biases, summed over a group of tiles."""
    program = tl.program_id(0)
    words = program % word_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    dims = program // word_blocks % dim_blocks * DIMS + tl.arange(0, DIMS)
    group = (program // (word_blocks * dim_blocks)).to(tl.int64)
    root = tl.load(root)
    count = tl.zeros((BLOCK_K,), tl.float32)
    first = tl.zeros((BLOCK_K, DIMS), tl.float32)
    second = tl.zeros((BLOCK_K, DIMS), tl.float32)
    for tile in range(group * n_tiles // groups, (group + 1) * n_tiles // groups):
        start, stop, bag = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
        rows = start + tl.arange(0, BLOCK_N)
        live = rows < stop
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 0, PRECISION)
        q = _posteriors(scores, norms, rows, live, n, ALONE, 0)
        slopes = _slopes(
            values, rows, live, grad_mass, grad_sums, bag, words, k, d, shift, root, STEP, ORDER, 0, PRECISION
        )
        if ALONE:
            mean = tl.sum(q * slopes, axis=0)
        else:
            mean = tl.load(norms + n + n + rows, mask=live, other=0.0)
        g = q * (slopes - mean[None, :])
        count += tl.sum(g, axis=1)
        z = _load_rows(values, rows, live, dims, d, shift, root)
        first = add_product(first, g, z, PRECISION)
        if POWERS > 1:
            second = add_product(second, g, z * z, PRECISION)
    if program // word_blocks % dim_blocks == 0:
        tl.store(grad_bias + group * k + words, count, mask=words < k)
    inside = (words[:, None] < k) & (dims[None, :] < d)
    target = grad_weight + group * k * (POWERS * d) + words[:, None] * (POWERS * d) + dims[None, :]
    tl.store(target, first, mask=inside)
    if POWERS > 1:
        tl.store(target + d, second, mask=inside)


@triton.jit
def _value_gradient_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    tiles,
    grad_mass,
    grad_sums,
    grad_values,
    n,
    k,
    d,
    dim_blocks,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIMS: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    ALONE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of the values of a tile of rows, for a block of features."""
    program = tl.program_id(0)
    dims = program % dim_blocks * DIMS + tl.arange(0, DIMS)
    tile = (program // dim_blocks).to(tl.int64)
    start, stop, bag = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    rows = start + tl.arange(0, BLOCK_N)
    live = rows < stop
    root = tl.load(root)
    matrix = grad_sums + bag * k * (ORDER * d)
    first = tl.zeros((BLOCK_N, DIMS), tl.float32)
    second = tl.zeros((BLOCK_N, DIMS), tl.float32)
    for word in range(0, k, BLOCK_K):
        words = word + tl.arange(0, BLOCK_K)
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 1, PRECISION)
        q = _posteriors(scores, norms, rows, live, n, ALONE, 1)
        slopes = _slopes(
            values, rows, live, grad_mass, grad_sums, bag, words, k, d, shift, root, STEP, ORDER, 1, PRECISION
        )
        if ALONE:
            mean = tl.sum(q * slopes, axis=1)
        else:
            mean = tl.load(norms + n + n + rows, mask=live, other=0.0)
        g = q * (slopes - mean[:, None])
        inside = (words[:, None] < k) & (dims[None, :] < d)
        first = add_product(first, g, _load_words(weight, words, dims, inside, POWERS * d), PRECISION)
        if POWERS > 1:
            second = add_product(second, g, _load_words(weight, words, d + dims, inside, POWERS * d), PRECISION)
        if ORDER > 0:
            first = add_product(first, q, _load_words(matrix, words, dims, inside, ORDER * d), PRECISION)
        if ORDER > 1:
            second = add_product(second, q, _load_words(matrix, words, d + dims, inside, ORDER * d), PRECISION)
    total = first
    if POWERS > 1 or ORDER > 1:
        z = _load_rows(values, rows, live, dims, d, shift, root)
        total += 2 * z * second
    inside = live[:, None] & (dims[None, :] < d)
    tl.store(grad_values + rows[:, None] * d + dims[None, :], total * root * root, mask=inside)


_SIZES = {  # rows, codewords and sums of a block, without and with tensor cores: the most that the registers hold
    "norms": ((64, 64, 1 << 12), (64, 128, 1 << 14)),
    "moments": ((32, 64, 1 << 13), (64, 128, 1 << 14)),
    "weights": ((32, 64, 1 << 13), (64, 64, 1 << 13)),
    "values": ((32, 32, 1 << 12), (64, 32, 1 << 13)),
}


class _Task(NamedTuple):
    """Scores of descriptors, as the kernels read them."""

    weight: torch.Tensor  # (k, d) or (k, 2d)
    bias: torch.Tensor  # (k,)
    shift: torch.Tensor  # (d,)
    root: torch.Tensor  # () 1/√scale
    order: int
    precision: str

    @property
    def powers(self) -> int:
        return self.weight.shape[1] // len(self.shift)

    def blocks(self, kind: str, kept: int = 1) -> "_Blocks":
        """Blocks of a kind of kernel, which keeps ``kept`` sums of each codeword, or row, and feature."""
        k, d = len(self.bias), len(self.shift)
        exact = self.precision == "ieee"
        block_n, block_k, room = _SIZES[kind][0 if exact else 1]
        if exact and k <= block_k:  # the softmax of all codewords needs registers of its own
            room = min(room, 1 << 12)
        block_k = padded(k, most=block_k)
        dims = padded(d, most=min(512, room // ((block_n if kind == "values" else block_k) * max(kept, 1))))
        return _Blocks(
            block_n,
            block_k,
            dims,
            padded(d, most=32),
            1 if exact else 2,
            k <= block_k,
            triton.cdiv(k, block_k),
            triton.cdiv(d, dims) if kept else 1,
        )


class _Blocks(NamedTuple):
    block_n: int
    block_k: int
    dims: int
    step: int
    num_stages: int
    alone: bool  # one block has all codewords
    word_blocks: int
    dim_blocks: int

    def constants(self, **others: Any) -> dict[str, Any]:
        """Constants of a launch."""
        return {
            "BLOCK_N": self.block_n,
            "BLOCK_K": self.block_k,
            "STEP": self.step,
            "num_warps": 8,
            "num_stages": self.num_stages,
            **others,
        }


def _task(weight, bias, shift, scale, order, precision):
    weight = weight.detach().T.contiguous()
    if precision.startswith("bf16"):
        weight = weight.to(torch.bfloat16)
    return _Task(weight, bias.detach().contiguous(), shift.contiguous(), scale.rsqrt(), order, precision)


def _pieces(offsets, rows):
    """Number of parts of at most ``rows`` rows of each bag, (n,) on the host."""
    return -(-np.diff(offsets) // rows)


def _cut(offsets, rows, device):
    """The parts of bags of at most ``rows`` rows: start, stop and bag of each, (parts, 3) int64.

    They are computed on the device, because a copy of the offsets is smaller than one of the parts.
    """
    edges = _on_device(offsets, device)
    pieces = (edges.diff() + rows - 1) // rows
    bag = torch.repeat_interleave(pieces, output_size=int(_pieces(offsets, rows).sum()))
    place = torch.arange(len(bag), device=device) - (pieces.cumsum(0) - pieces)[bag]
    start = edges[bag] + rows * place
    return torch.stack([start, torch.minimum(start + rows, edges[bag + 1]), bag], dim=1)


def _rows_of_part(n, columns):
    """Rows of a program if ``columns`` programs share each row."""
    return max(LEAST_ROWS, triton.cdiv(n * columns, PROGRAMS))


def _on_device(numbers, device):
    return torch.tensor(np.asarray(numbers, dtype=np.int64), device=device)


def _norms(task, x, tiles, gradients):
    """The norms of the rows x: (2, n), or (3, n) with the slopes of the gradients of mass and sums."""
    n, k, d = len(x), len(task.bias), x.shape[1]
    slopes = gradients is not None
    blocks = task.blocks("norms")
    norms = torch.empty(3 if slopes else 2, n, dtype=torch.float32, device=x.device)
    launch(
        _norms_kernel,
        (len(tiles) if slopes else triton.cdiv(n, blocks.block_n),),
        *(x, task.weight, task.bias, task.shift, task.root, norms),
        *((tiles, *gradients) if slopes else (norms, norms, norms)),
        *(n, k, d),
        **blocks.constants(POWERS=task.powers, ORDER=task.order, SLOPES=slopes, PRECISION=task.precision),
    )
    return norms


def _part_moments(task, x, offsets, row_weights=None, norms=None):
    """Mass (n, k) and sums (n, k, order d) of the bags of rows on the device."""
    n, k, d = len(offsets) - 1, len(task.bias), x.shape[1]
    blocks = task.blocks("moments", task.order)
    columns = blocks.word_blocks * blocks.dim_blocks
    rows = _rows_of_part(len(x), columns)
    parts, pieces = _cut(offsets, rows, x.device), _pieces(offsets, rows)
    # the first part of a bag is written to the place of the bag, and the others are added to it
    divided = np.flatnonzero(pieces > 1)
    n_others = int((pieces[divided] - 1).sum())
    if n_others:
        bag = parts[:, 2]
        other = torch.nn.functional.pad(bag[1:] == bag[:-1], (1, 0))
        parts[:, 2] = torch.where(other, n - 1 + other.cumsum(0), bag)
    make = torch.zeros if (pieces == 0).any() else torch.empty
    mass = make(n + n_others, k, dtype=torch.float32, device=x.device)
    sums = make(n + n_others, k, task.order * d, dtype=torch.float32, device=x.device)
    if norms is None:
        norms = mass if blocks.alone else _norms(task, x, None, None)
    launch(
        _moments_kernel,
        (len(parts) * columns,),
        *(x, task.weight, task.bias, task.shift, task.root, norms, parts),
        *(mass if row_weights is None else row_weights, mass, sums, len(x), k, d),
        *(blocks.word_blocks, blocks.dim_blocks),
        **blocks.constants(
            DIMS=blocks.dims,
            POWERS=task.powers,
            ORDER=task.order,
            ALONE=blocks.alone,
            WEIGHTED=row_weights is not None,
            PRECISION=task.precision,
        ),
    )
    if n_others == 0:
        return mass, sums
    where, others = _on_device(divided, x.device), _on_device(pieces[divided] - 1, x.device)
    labels = torch.repeat_interleave(others, output_size=n_others)
    return tuple(_added(total, n, where, labels) for total in (mass, sums))


def _added(total, n, where, labels):
    """The first n entries, after the others were added to the entries ``where[label]``."""
    result = total[:n].clone()
    if total.numel():
        result[where] += sum_by_label(total[n:], labels, len(where))
    return result


def _chunks(values, offsets, like):
    """Parts of the values on the device of ``like``: slices of the rows and of the bags, rows, and their offsets."""
    for start, stop, x in device_chunks(values, like):
        first = int(np.searchsorted(offsets, start, side="right")) - 1
        last = int(np.searchsorted(offsets, stop, side="left"))
        if len(x) == len(values):
            first, last = 0, len(offsets) - 1
        yield slice(start, stop), slice(first, last), x, np.clip(offsets[first : last + 1], start, stop) - start


@torch.compiler.disable  # a compiled network calls it as it is
def soft_moments(
    values: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    offsets: np.ndarray,
    order: int,
) -> tuple[torch.Tensor, ...]:
    """The mass and, if order > 0, S1 and S2 of at least one row. The scores are float32 and on a GPU."""
    return _FusedSoftMoments.apply(values, weight, bias, shift, scale, offsets, order)


class _FusedSoftMoments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        shift: torch.Tensor,
        scale: torch.Tensor,
        offsets: np.ndarray,
        order: int,
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(values, weight, bias, shift, scale)
        ctx.offsets, ctx.order = offsets, order
        ctx.precision = dot_precision(values)  # backward runs in threads of autograd, which do not know it
        task = _task(weight, bias, shift, scale, order, ctx.precision)
        n, (d, k) = len(offsets) - 1, (values.shape[1], weight.shape[1])
        mass = sums = weight.new_zeros(0)
        for rows, bags, x, edges in _chunks(values, offsets, weight):
            part = _part_moments(task, x, edges)
            if len(x) == len(values):
                mass, sums = part
                break
            if rows.start == 0:
                mass, sums = weight.new_zeros(n, k), weight.new_zeros(n, k, order * d)
            mass[bags] += part[0]
            sums[bags] += part[1]
        return (mass, *sums.split(d, dim=2)) if order else (mass,)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mass: torch.Tensor, *grad_sums: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, weight, bias, shift, scale = ctx.saved_tensors
        task = _task(weight, bias, shift, scale, ctx.order, ctx.precision)
        grad_mass = grad_mass.contiguous()
        grad_sum = torch.cat(grad_sums, dim=2) if grad_sums else grad_mass
        grad_weight, grad_bias = torch.zeros_like(task.weight, dtype=torch.float32), torch.zeros_like(task.bias)
        grad_values = torch.empty_like(values) if ctx.needs_input_grad[0] else None
        for rows, bags, x, edges in _chunks(values, ctx.offsets, weight):
            gradients = _Gradients(task, x, edges, grad_mass[bags], grad_sum[bags])
            of_weight, of_bias = gradients.of_scores()
            grad_weight += of_weight
            grad_bias += of_bias
            if grad_values is not None:
                grad_values[rows] = gradients.of_values().to(grad_values.device)
        return grad_values, grad_weight.T, grad_bias, None, None, None, None


class _Gradients:
    """The backward pass for some bags of rows on the device."""

    def __init__(self, task, x, offsets, grad_mass, grad_sums):
        self.task, self.x, self.offsets = task, x, offsets
        self.gradients = grad_mass, grad_sums
        self.tables = {}
        alone = task.blocks("weights").alone and task.blocks("values").alone
        self.norms = None if alone else _norms(task, x, self.tiles(task.blocks("norms")), self.gradients)

    def tiles(self, blocks):
        """Parts of bags that fit a block of rows, on the device."""
        size = blocks.block_n
        if size not in self.tables:
            self.tables[size] = _cut(self.offsets, size, self.x.device)
        return self.tables[size]

    def arguments(self, tiles):
        task = self.task
        norms = self.x if self.norms is None else self.norms
        return (self.x, task.weight, task.bias, task.shift, task.root, norms, tiles, *self.gradients)

    def constants(self, blocks):
        return blocks.constants(
            DIMS=blocks.dims,
            POWERS=self.task.powers,
            ORDER=self.task.order,
            ALONE=self.norms is None,
            PRECISION=self.task.precision,
        )

    def of_scores(self):
        """Gradients of weight (k, d or 2d) and bias (k,)."""
        task, k, d = self.task, len(self.task.bias), self.x.shape[1]
        blocks = task.blocks("weights", task.powers)
        tiles = self.tiles(blocks)
        columns = blocks.word_blocks * blocks.dim_blocks
        groups = min(len(tiles), triton.cdiv(PROGRAMS, columns))
        grad_weight = self.x.new_empty(groups, k, task.powers * d, dtype=torch.float32)
        grad_bias = self.x.new_empty(groups, k, dtype=torch.float32)
        launch(
            _weight_gradient_kernel,
            (groups * columns,),
            *self.arguments(tiles),
            *(grad_weight, grad_bias, len(self.x), k, d, len(tiles), groups, blocks.word_blocks, blocks.dim_blocks),
            **self.constants(blocks),
        )
        return grad_weight.sum(0), grad_bias.sum(0)

    def of_values(self):
        """Gradient of the rows, in float32."""
        task, k, d = self.task, len(self.task.bias), self.x.shape[1]
        blocks = task.blocks("values", max(task.powers, task.order))
        tiles = self.tiles(blocks)
        grad_values = self.x.new_empty(len(self.x), d, dtype=torch.float32)
        launch(
            _value_gradient_kernel,
            (len(tiles) * blocks.dim_blocks,),
            *self.arguments(tiles),
            *(grad_values, len(self.x), k, d, blocks.dim_blocks),
            **self.constants(blocks),
        )
        return grad_values


def weighted_moments(
    values: torch.Tensor, row_weights: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mass (k,), sums (k, 2d) and likelihood () in float64 of at least one row on the device.

    Products are those of float32, whatever the current precision.
    """
    n, d = values.shape
    task = _task(weight, bias, weight.new_zeros(d), weight.new_ones(()), 2, "ieee")
    x, row_weights = values.contiguous(), row_weights.contiguous()
    norms = _norms(task, x, None, None)
    # each program sums a bag of its own, so that the bags can be added in float64
    blocks = task.blocks("moments", 2)
    rows = _rows_of_part(n, blocks.word_blocks * blocks.dim_blocks)
    edges = np.minimum(np.arange(0, n + rows, rows), n)
    mass, sums = _part_moments(task, x, edges, row_weights, norms)
    likelihood = row_weights.double() @ (norms[0].double() + norms[1].double().log())
    return mass.sum(0, dtype=torch.float64), sums.sum(0, dtype=torch.float64), likelihood
