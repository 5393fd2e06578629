"""Kernels of `draw_units` and `draw_states`: states are drawn where their probabilities are computed."""

import torch
import triton
import triton.language as tl

from sklinvariant.ops._binary_units import Draw
from sklinvariant.ops._kernels import dot_precision, launch
from sklinvariant.ops.gpu._products import add_product

PROGRAMS = 128  # that occupy a GPU; large blocks are used only if there are as many
_COUNTER = ["seed", "draw", "first_row"]  # no variants of a kernel for special values of these


@triton.jit
def _drawn_states(probability, first_row, first_unit, seed, draw):
    """The states of a block (m, n) of units, from the numbers of `counted_uniform`."""
    rows, units = tl.arange(0, probability.shape[0]), tl.arange(0, probability.shape[1])
    column = tl.broadcast_to((first_unit + units).to(tl.uint32)[None, :], probability.shape)
    row = tl.broadcast_to((first_row + rows).to(tl.uint32)[:, None], probability.shape)
    number = tl.zeros_like(row) + draw.to(tl.uint32)
    word, _, _, _ = tl.philox(seed, column, row, number, tl.zeros_like(row))
    uniform = (word >> 8).to(tl.int32).to(tl.float32) * (1.0 / (1 << 24))
    return (uniform < probability).to(tl.float32)


@triton.jit(do_not_specialize=_COUNTER)
def _units_kernel(
    x,
    weight,
    bias,
    probabilities,
    states,
    seed,
    draw,
    first_row,
    n,
    b,
    d,
    weight_row,
    weight_column,
    BLOCK_N: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """σ(x weightᵀ + bias) and states of a block of units. The product limits the speed."""
    row, unit = tl.program_id(0).to(tl.int64) * BLOCK_N, tl.program_id(1).to(tl.int64) * BLOCK_B
    rows, units, dims = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_B), tl.arange(0, BLOCK_D)
    has_row, has_unit = row + rows < n, unit + units < b
    lefts = x + row * d + rows[:, None] * d + dims[None, :]
    rights = weight + unit * weight_row + units[None, :] * weight_row + dims[:, None] * weight_column
    total = tl.zeros((BLOCK_N, BLOCK_B), tl.float32)
    for start in range(0, d, BLOCK_D):
        has_dim = start + dims < d
        left = tl.load(lefts, mask=has_row[:, None] & has_dim[None, :], other=0.0)
        right = tl.load(rights, mask=has_unit[None, :] & has_dim[:, None], other=0.0)
        total = add_product(total, left, right, PRECISION)
        lefts += BLOCK_D
        rights += BLOCK_D * weight_column
    total += tl.load(bias + unit + units, mask=has_unit, other=0.0).to(tl.float32)[None, :]
    probability = tl.sigmoid(total)
    place, inside = row * b + unit, has_row[:, None] & has_unit[None, :]
    within = rows[:, None] * b + units[None, :]
    tl.store(probabilities + place + within, probability, mask=inside)
    drawn = _drawn_states(probability, first_row + row, unit, seed, draw)
    tl.store(states + place + within, drawn, mask=inside)


@triton.jit(do_not_specialize=_COUNTER)
def _draw_kernel(
    values,
    probabilities,
    states,
    seed,
    draw,
    first_row,
    n,
    b,
    BLOCK_N: tl.constexpr,
    BLOCK_B: tl.constexpr,
    SIGMOID: tl.constexpr,
):
    """States of units with the given activities or probabilities. Memory, or the random numbers, limit the speed."""
    row, unit = tl.program_id(0).to(tl.int64) * BLOCK_N, tl.program_id(1).to(tl.int64) * BLOCK_B
    rows, units = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_B)
    inside = (row + rows < n)[:, None] & (unit + units < b)[None, :]
    place, within = row * b + unit, rows[:, None] * b + units[None, :]
    probability = tl.load(values + place + within, mask=inside, other=0.0).to(tl.float32)
    if SIGMOID:
        probability = tl.sigmoid(probability)
        tl.store(probabilities + place + within, probability, mask=inside)
    drawn = _drawn_states(probability, first_row + row, unit, seed, draw)
    tl.store(states + place + within, drawn, mask=inside)


def draw_units(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities σ(x weightᵀ + bias) of units, and their states: (n, b) float32 each.

    Without tensor cores torch computes the product, at a rate that Triton does not reach; the rest is one pass over it.
    """
    precision = dot_precision(x, weight)
    n, (b, d) = len(x), weight.shape
    if precision == "ieee":
        activity = torch.addmm(bias.float(), x.float(), weight.float().T)
        return activity, _drawn(activity, draw, activity)
    if precision.startswith("bf16"):
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    block = next((size for size in (128, 64) if triton.cdiv(n, size) * triton.cdiv(b, size) >= PROGRAMS), 32)
    probabilities, states = (torch.empty(n, b, dtype=torch.float32, device=x.device) for _ in range(2))
    launch(
        _units_kernel,
        (triton.cdiv(n, block), triton.cdiv(b, block)),
        *(x.contiguous(), weight, bias, probabilities, states, *draw, n, b, d, *weight.stride()),
        BLOCK_N=block,
        BLOCK_B=block,
        BLOCK_D=64 if precision == "bf16" else 32,
        PRECISION=precision,
        num_warps=8 if block == 128 else 4,
        num_stages=3,
    )
    return probabilities, states


def draw_states(probabilities: torch.Tensor, draw: Draw) -> torch.Tensor:
    """States (n, b) of units with the given probabilities, in the same dtype."""
    return _drawn(probabilities.contiguous(), draw).to(probabilities.dtype)


def _drawn(values, draw, probabilities=None):
    """States of units with given probabilities, or with given activities, whose probabilities are then stored."""
    n, b = values.shape
    states = torch.empty(n, b, dtype=torch.float32, device=values.device)
    launch(
        _draw_kernel,
        (triton.cdiv(n, 16), triton.cdiv(b, 64)),
        *(values, values if probabilities is None else probabilities, states, *draw, n, b),
        BLOCK_N=16,
        BLOCK_B=64,
        SIGMOID=probabilities is not None,
    )
    return states
