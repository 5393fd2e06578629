"""The engine: sums of any statistics, in float64, with one block in memory at a time."""

import gc
import weakref
from typing import NamedTuple

import pytest
import torch

from sklinvariant.accumulate import accumulate
from sklinvariant.accumulate._columns import Range


class _Statistics(NamedTuple):
    count: int
    counts: torch.Tensor
    sums: tuple
    range: Range


def _step(x, factor):
    return _Statistics(len(x), x.long().bincount(minlength=5), (factor * x.sum(), x.sum(0)), Range.of(x[:, None]))


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 5, 2]])
def test_statistics_of_any_structure_are_added(sizes):
    x = torch.tensor([0.0, 4, 1, 1, 2, 3, 0, 0, 1, 1])
    total = accumulate(_step, x.split(sizes), 2)
    assert isinstance(total, _Statistics)
    assert (total.count, total.counts.tolist()) == (10, [3, 4, 1, 1, 1])
    assert [float(part) for part in total.sums] == [26, 13]
    assert (total.range.low.item(), total.range.high.item()) == (0, 4)


def test_sums_are_in_float64():
    assert accumulate(lambda x, _: x.sum(), [torch.tensor([2.0**24]), torch.ones(1), torch.ones(1)]) == 2**24 + 2


def test_one_block_is_in_memory_at_a_time():
    alive = []

    def blocks():
        for _ in range(4):
            gc.collect()
            assert not any(reference() is not None for reference in alive)
            block = torch.ones(3)
            alive.append(weakref.ref(block))
            yield block
            del block

    assert accumulate(lambda block, _: block.sum(), blocks()) == 12


def test_no_blocks():
    with pytest.raises(ValueError, match="no blocks"):
        accumulate(lambda block, _: block, [])
