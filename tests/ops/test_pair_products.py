"""Sums of products of pairs of rows against a loop over the pairs."""

import pytest
import torch
from tolerance import assert_close

from sklinvariant.ops import gram, pair_products, pairs_of_rows

FOLLOWS = torch.tensor([1, 1, 0, 0, 1, 0, 1], dtype=torch.bool)


def rows(dtype=torch.float64):
    return torch.rand(len(FOLLOWS) + 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_a_loop(dtype):
    x = rows(dtype)
    total, change, first = torch.zeros(3, 3, 3, dtype=torch.float64)
    for i in FOLLOWS.nonzero()[:, 0].tolist():
        y, y_next = x[i].double() / 2, x[i + 1].double() / 2
        total += y.outer(y) + y_next.outer(y_next)
        change += (y - y_next).outer(y - y_next)
        first += y.outer(y)
    for got, expected in zip(pair_products(x, FOLLOWS, 2.0, with_first=True), (total, change, first), strict=True):
        assert_close(got, expected)
    assert len(pair_products(x, FOLLOWS)) == 2


def test_one_row_has_no_pair():
    assert all((part == 0).all() for part in pair_products(rows()[:1], FOLLOWS[:0]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_outside_pairs_do_not_count(value):
    x = rows()
    expected = pair_products(x, FOLLOWS, with_first=True)
    x[3] = value  # a row of no pair
    for got, wanted in zip(pair_products(x, FOLLOWS, with_first=True), expected, strict=True):
        assert torch.equal(got, wanted)


def test_pairs_of_rows():
    assert pairs_of_rows(FOLLOWS).tolist() == [1, 2, 1, 0, 1, 1, 1, 1]


def test_gram():
    assert_close(gram(rows()), rows().T @ rows())
