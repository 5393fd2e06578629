"""Rows that Dask holds are read by index, and summed in parts."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.accumulate import Blocks
from sklinvariant.base import DaskRows

dask = pytest.importorskip("dask", reason="dask is not installed")
ROWS = np.random.RandomState(0).rand(210, 6)


@pytest.fixture
def rows():
    parts = [dask.delayed(torch.as_tensor(ROWS[start : start + 70])) for start in (0, 70, 140)]
    with dask.config.set(scheduler="synchronous"):
        yield DaskRows(parts, [70] * 3, torch.empty(0, 6), float(ROWS.min()), float(ROWS.max()))


@pytest.mark.parametrize(
    "index", [slice(60, 80), slice(None, None, 50), np.array([150, 3, 3, 71]), slice(5, 5), np.array([209, 0])], ids=str
)
def test_rows_by_index(rows, index):
    np.testing.assert_array_equal(rows[index], ROWS[index])
    if isinstance(index, np.ndarray):
        np.testing.assert_array_equal(rows[torch.as_tensor(index)], ROWS[index])


def test_chosen_rows_stay_lazy(rows):
    chosen = rows.chosen(np.array([0, 1, 200]))
    assert (len(chosen), len(chosen.parts)) == (3, 2)
    np.testing.assert_array_equal(chosen[:], ROWS[[0, 1, 200]])


def test_values_of_rows(rows):
    assert_close(Blocks(rows, dtype=torch.float64).map(lambda x: x.sum(1)).whole(), ROWS.sum(1))
    assert_close(rows.amin(1), ROWS.min(1))
    assert (float(rows.min()), float(rows.max())) == (ROWS.min(), ROWS.max())
    assert rows.to(torch.float32).dtype == torch.float32


@pytest.mark.parametrize("n_parts", [1, 2, 9, 70])
def test_parts_overlap_and_are_added(n_parts):
    parts = [dask.delayed(torch.as_tensor(part)) for part in np.array_split(ROWS, n_parts)]
    lengths = [len(part) for part in np.array_split(ROWS, n_parts)]
    rows = DaskRows(parts, lengths, torch.empty(0, 6), 0, 1)
    weights = torch.arange(len(ROWS) - 1.0)

    def step(part, weights):
        return (part[:-1] * part[1:])[: len(weights)].sum(1) @ weights.double()

    with dask.config.set(scheduler="synchronous"):
        total = rows.reduced(step, torch.add, (weights,), overlap=1)
    assert_close(total, (ROWS[:-1] * ROWS[1:]).sum(1) @ np.arange(len(ROWS) - 1.0))
