"""Launches of the kernels of `soft_moments`, forward and backward, and the sizes of their blocks.

The matrix products bound all kernels: with p = 1, or 2 for quadratic scores, a row takes 4 p k d operations for the
scores of both passes and 2 ``order`` k d for the moments, and is read from memory once or twice.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from torch.autograd.function import once_differentiable

from sklinvariant.ops._chunks import device_chunks
from sklinvariant.ops._kernels import dot_precision, launch, padded
from sklinvariant.ops._nearest import sum_by_label
from sklinvariant.ops.gpu._soft_moment_kernels import (
    moments_kernel,
    norms_kernel,
    value_gradient_kernel,
    weight_gradient_kernel,
)

PROGRAMS = 1024  # into which a sum over rows is split, which is enough for every GPU
LEAST_ROWS = 512  # of a program, so that adding the sums of programs is comparatively cheap

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
    root: torch.Tensor  # () 1/√scale, by which values are multiplied twice, because 1/scale may overflow
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
        norms_kernel,
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
        moments_kernel,
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
            weight_gradient_kernel,
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
            value_gradient_kernel,
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
