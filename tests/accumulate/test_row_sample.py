"""Samples of rows that are read in parts."""

import numpy as np
import torch

from sklinvariant.accumulate import RowSample


def _sample(rows, cuts, size, seed=0):
    sample = RowSample.empty(rows.shape[1], size, seed)
    for part in np.split(rows, cuts):
        sample = sample.extended(torch.from_numpy(part), torch.float64)
    return sample


def test_few_rows_are_all_kept_in_order():
    rows = np.arange(20.0).reshape(10, 2)
    np.testing.assert_array_equal(_sample(rows, [3, 3, 9], 10).rows, rows)


def test_the_sample_does_not_depend_on_the_parts():
    rows = np.random.RandomState(0).normal(size=(500, 2))
    expected = _sample(rows, [], 50)
    assert expected.rows.shape == (50, 2)
    for cuts in ([100, 101, 400], list(range(0, 500, 7))):
        again = _sample(rows, cuts, 50)
        np.testing.assert_array_equal(again.rows, expected.rows)
        assert again.n_rows == 500
    assert not np.array_equal(_sample(rows, [], 50, seed=1).rows, expected.rows)


def test_every_row_is_equally_likely():
    """60 rows, of which 20 are drawn 300 times: a row is expected 100 times, with a standard deviation of 8."""
    rows, counts = np.arange(60.0)[:, None], np.zeros(60)
    for seed in range(300):
        counts[_sample(rows, [10, 20, 30, 40, 50], 20, seed).rows[:, 0].astype(int)] += 1
    assert counts.min() > 60
    assert counts.max() < 140
