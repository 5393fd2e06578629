"""The sum of statistics over blocks of data."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from sklinvariant.accumulate._blocks import Blocks
from sklinvariant.base import ScatteredRows
from sklinvariant.ops import chunk_share, float64_device, in_smaller_chunks


def accumulate(step: Callable[[Any, Any], Any], blocks: Iterable[Any], state: Any = None) -> Any:
    """The sum of ``step(block, state)`` over all blocks, of which one is in memory at a time.

    Parameters
    ----------
    step : callable
        Computes the statistics of a block: a number, a tensor, a tuple or NamedTuple of statistics, or any object that
        defines ``+``, such as `Range`. Returned tensors must be new, because sums are computed in place.
    blocks : iterable
        Blocks of data, for instance `Blocks`. The sums over `ScatteredRows` are computed where these are: by
        the workers of Dask, or by the processes of `torch.distributed`.
    state : object
        The result of earlier rounds, such as the codebook of k-means.

    Returns
    -------
    The sum. Floats are summed in float64, on the CPU if the device of a tensor has no float64.
    """
    if isinstance(blocks, Blocks) and isinstance(blocks.values, ScatteredRows):
        one = partial(_accumulate_part, step, blocks.part(blocks.values.none), state)
        return blocks.values.reduced(one, _sum, blocks.others, blocks.overlap)
    if isinstance(blocks, Blocks):
        return in_smaller_chunks(lambda: _total(step, blocks.of_size(chunk_share(blocks.size)), state))
    return _total(step, blocks, state)


def _total(step, blocks, state):
    total = None
    for block in blocks:
        part = step(block, state)
        del block  # before the next one is read
        total = _in_float64(part) if total is None else _sum(total, part)
    if total is None:
        raise ValueError("there are no blocks to accumulate")
    return total


def _accumulate_part(step, blocks, state, part, *others):
    """The sum over a part of `ScatteredRows`, computed where it is."""
    return accumulate(step, blocks.part(part, *others), state)


def _in_float64(part):
    if isinstance(part, tuple):
        return _each(_in_float64, part)
    if isinstance(part, torch.Tensor) and part.is_floating_point():
        return part.to(float64_device(part.device)).double()
    return part


def _sum(total, part):
    if isinstance(part, tuple):
        return _each(_sum, total, part)
    if isinstance(part, torch.Tensor):
        return total.add_(part.to(total.device))
    return total + part


def _each(function, *statistics):
    kind, results = type(statistics[0]), map(function, *statistics)
    return kind(*results) if hasattr(kind, "_fields") else kind(results)
