"""Rows of several processes are read by index, and summed where they are."""

import numpy as np
import pytest
import torch
from tolerance import assert_close
from two_processes import fit_shards_in_two_threads

from sklinvariant._distributed import current_processes
from sklinvariant.accumulate import Blocks, accumulate
from sklinvariant.base import ShardRows

ROWS = np.random.RandomState(0).rand(20, 3)


def of_shards(function, cut=7):
    """The same result of ``function(rows)`` in two processes, of which the first has ``cut`` rows."""

    def run(rank):
        own = torch.as_tensor(ROWS[:cut] if rank == 0 else ROWS[cut:])
        return function(ShardRows.of(current_processes(), own))

    first, second = fit_shards_in_two_threads(run)
    if isinstance(first, Exception):
        raise first
    np.testing.assert_equal(first, second)
    return first


@pytest.mark.parametrize("index", [slice(5, 9), slice(None, None, 8), np.array([15, 3, 3, 7]), slice(5, 5), slice(3)])
def test_rows_by_index(index):
    np.testing.assert_array_equal(of_shards(lambda rows: rows[index].numpy()), ROWS[index])


def test_values_of_rows():
    assert of_shards(lambda rows: (len(rows), rows.shape, rows.lengths)) == (20, (20, 3), [7, 13])
    assert of_shards(lambda rows: (float(rows.min()), float(rows.max()))) == (ROWS.min(), ROWS.max())
    np.testing.assert_array_equal(of_shards(lambda rows: rows[19].numpy()), ROWS[19])
    assert_close(of_shards(lambda rows: Blocks(rows).map(lambda x: x.sum(1)).whole().numpy()), ROWS.sum(1))


@pytest.mark.parametrize("index", [np.array([1, 9, 12]), np.array([8, 12]), np.array([2])])
def test_sums_over_chosen_rows(index):
    """Also if a process has none of them."""
    weights = torch.arange(1.0, 1 + len(index))

    def total(rows):
        blocks = Blocks(rows.chosen(index), weights, size=2)
        return accumulate(lambda block, _: (block[1].double() @ block[0], len(block[0])), blocks)

    values, n = of_shards(lambda rows: [x if isinstance(x, int) else x.numpy() for x in total(rows)])
    assert_close(values, weights.double().numpy() @ ROWS[index])
    assert n == len(index)


@pytest.mark.parametrize("cut", [1, 7, 19])
def test_parts_overlap(cut):
    """The next row of the last row of a part is the first one of the next process."""
    weights = torch.arange(19.0)

    def step(block, _):
        rows, weights = block
        return (rows[: len(weights)] * rows[1 : len(weights) + 1]).sum(1) @ weights.double()

    def total(rows):
        return accumulate(step, Blocks(rows, weights, size=4, overlap=1)).numpy()

    assert_close(of_shards(total, cut), (ROWS[:-1] * ROWS[1:]).sum(1) @ weights.double().numpy())
