"""Rows of length 1 and their nearest rows."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.neighbors._similarities import (
    check_links,
    check_rows,
    linked_similarities,
    nearest_rows,
    unit_rows,
)


def test_rows_have_length_one_at_any_scale():
    X = np.random.RandomState(0).normal(size=(9, 4))
    expected = X / np.linalg.norm(X, axis=1, keepdims=True)
    for scale in (1, 1e-300, 1e300):
        assert_close(unit_rows(X * scale, "X"), expected)
    np.testing.assert_array_equal(unit_rows(np.zeros((1, 3)), "X"), np.zeros((1, 3)))


def test_nearest_rows_are_those_of_all_cosines():
    rng = np.random.RandomState(1)
    queries, X = (unit_rows(rng.normal(size=(n, 5)), "X") for n in (300, 40))
    similarities, rows = nearest_rows(queries, X, 7)
    cosines = queries @ X.T
    np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1)[:, :7])
    assert_close(similarities, -np.sort(-cosines, axis=1)[:, :7])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="queries has 3 features, but the database has 4"):
        unit_rows(np.ones((2, 3)), "queries", 4)
    with pytest.raises(ValueError, match="NaN"):
        unit_rows([[np.nan]], "X")
    for rows in ([[0.5]], [0], [[0], [1]]):
        with pytest.raises(ValueError, match=r"integers of shape \(1, k\) are required"):
            check_rows(rows, 1, 5)
    with pytest.raises(ValueError, match="rows contains -1 to 5, but there are 5 rows"):
        check_rows([[-1, 5]], 1, 5)


def test_similarities_of_links_are_those_of_all_pairs():
    rng = np.random.RandomState(2)
    X, links = unit_rows(rng.normal(size=(600, 5)), "X"), rng.randint(600, size=(550, 4))
    expected = np.take_along_axis(X[50:] @ X.T, links, 1)
    assert_close(linked_similarities(X, links, first=50), expected)


def test_links_are_other_rows_each_once():
    np.testing.assert_array_equal(check_links([[1, 2], [0, 2], [1, 0]], 3, 2), [[1, 2], [0, 2], [1, 0]])
    with pytest.raises(ValueError, match=r"links\[1\] contains row 1 itself.*kneighbors\(\) without queries"):
        check_links([[1, 2], [2, 1], [2, 0]], 3, 1)
    with pytest.raises(ValueError, match=r"links\[2\] contains row 0 twice"):
        check_links([[1, 2], [0, 2], [0, 0]], 3, 1)


def test_links_may_be_empty():
    assert check_links(np.zeros((1, 0), dtype=int), 1, 0).shape == (1, 0)
