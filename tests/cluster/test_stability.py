"""The choice of a number of clusters by stability."""

import numpy as np
import pytest

from sklinvariant.cluster._stability import agreement, numbers_to_compare, stable_number, too_few_rows


def test_agreement_is_a_mean_over_pairs():
    first, second = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    assert agreement([first, second, first], 2) == 1
    other = np.array([0, 1, 0, 1])  # adjusted Rand index -0.5
    assert agreement([first, second, other], 2) == pytest.approx(0)


def test_missing_clusters_are_no_agreement():
    one, two = np.zeros(4, int), np.array([0, 0, 1, 1])
    assert agreement([one, one], 1) == 1
    assert agreement([one, one], 2) == 0
    assert agreement([two, one], 2) == 0


@pytest.mark.parametrize(
    ("stability", "expected"),
    [
        ([0.3, 1.0, 0.8], 3),
        ([1.0, 1.0, 0.8], 3),
        ([1.0, 0.9995, 0.98], 3),
        ([1.0, 0.8, 0.9995], 4),
        ([0.9, 0.7, 0.8], 2),
        ([0.1, 1.0, 0.9946], 3),
        ([0.0, 0.0, 0.0], 2),
    ],
)
def test_the_largest_of_equally_stable_numbers(stability, expected):
    assert stable_number(range(2, 5), np.array(stability)) == expected


@pytest.mark.parametrize(("n_rows", "expected"), [(2, [2]), (11, [2]), (12, [2, 3]), (1000, [2, 3, 4, 5])])
def test_only_numbers_with_several_rows_per_cluster_are_compared(n_rows, expected):
    assert [*numbers_to_compare(n_rows, 5)] == expected


def test_the_largest_number_that_few_rows_allow_is_reported():
    assert (
        "3 is the largest number of clusters that was compared, because X has only 12 rows"
        in too_few_rows(3, 3, 12, 5)[0]
    )
    assert too_few_rows(2, 3, 12, 5) == []
    assert too_few_rows(5, 5, 1000, 5) == []
