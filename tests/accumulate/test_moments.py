"""Moments against numpy, and their sum against the moments of all rows."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.accumulate import Blocks, measure_moments


def _rows(scale, offset):
    return (np.random.RandomState(0).normal(size=(60, 3)) + offset) * scale


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1, 1e6), (2.0**900, 3), (2.0**-900, 3)])
@pytest.mark.parametrize("cuts", [[30], [1, 2, 59], [0, 10], list(range(1, 60))])
def test_the_sum_of_moments_is_that_of_all_rows(scale, offset, cuts):
    rows = _rows(scale, offset)
    parts = [measure_moments(Blocks(part), 2) for part in np.split(rows, cuts) if len(part)]
    total, whole = sum(parts[1:], parts[0]), measure_moments(Blocks(rows), 2)
    assert total.columns.mass == 60
    assert_close(total.columns.mean, whole.columns.mean)
    assert_close(total.columns.unit, whole.columns.unit)
    assert_close(total.products, whole.products)


@pytest.mark.parametrize("offset", [0, 1e6])
def test_products_against_numpy(offset):
    rows = _rows(1, offset)
    moments = measure_moments(Blocks(rows), 2)
    assert_close(moments.products * moments.columns.unit**2 / 60, np.cov(rows.T, bias=True))
    squares = [measure_moments(Blocks(part), 1) for part in (rows[:20], rows[20:])]
    assert_close((squares[0] + squares[1]).products, moments.products.diagonal())
    assert_close(moments.total_deviation, np.sqrt(rows.var(0).sum()))
    assert measure_moments(Blocks(rows), 0).products is None


def test_columns_that_are_constant_stay_exact():
    """The mean of equal values is that value, also after many sums."""
    parts = [measure_moments(Blocks(np.full((n, 1), 0.1)), 2) for n in (1, 7, 3)]
    total = sum(parts[1:], parts[0])
    assert float(total.columns.mean) == 0.1
    assert float(total.products) == 0
