"""Statistics of columns against numpy, at any scale, offset and size of the blocks."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.accumulate import Blocks, column_range, deviations, measure_columns, scatter


@pytest.mark.parametrize("size", [1, 7, None])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("dtype", "scale", "offset"), [("f8", 1, 1e3), ("f4", 1e-30, 0), ("f4", 1e30, 5), ("f8", 1e200, 1)]
)
def test_columns(dtype, scale, offset, weighted, size):
    random = np.random.RandomState(0)
    x = ((random.normal(size=(50, 3)) + offset) * scale).astype(dtype)
    weights = random.uniform(1, 2, 50) if weighted else np.ones(50)
    blocks = Blocks(x, weights, size=size) if weighted else Blocks(x, size=size)
    columns = measure_columns(blocks)
    x = x.astype(float)
    mean = np.average(x, axis=0, weights=weights)
    assert columns.mass == pytest.approx(weights.sum())
    assert_close(columns.mean, mean)
    for actual, expected in zip(
        ((columns.low, columns.high), column_range(blocks)), 2 * [(x.min(0), x.max(0))], strict=True
    ):
        assert_close(torch.stack(actual).double(), np.stack(expected))
    assert_close(columns.reach, np.abs(x - mean).max(0))
    spread = scale * np.sqrt(np.average(((x - mean) / scale) ** 2, axis=0, weights=weights))
    assert_close(deviations(blocks, columns), spread)


@pytest.mark.parametrize("size", [1, 7, None])
def test_scatter(size):
    x = np.random.RandomState(0).normal(size=(50, 3))
    z = (x - x.mean(0)) / 2
    assert_close(scatter(Blocks(x, size=size), torch.from_numpy(x.mean(0)), 2.0), z.T @ z)


@pytest.mark.parametrize("value", [0.1, 1 / 3, -7e-5])
def test_equal_values_have_exactly_this_mean(value):
    """Rounding must not give a constant column a nonzero deviation."""
    columns = measure_columns(Blocks(np.full((1000, 1), value), size=7))
    assert columns.mean.item() == value
    assert columns.reach.item() == 0
    assert deviations(Blocks(np.full((1000, 1), value)), columns).item() == 0
