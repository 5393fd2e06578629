"""Sums of products of pairs of rows against the torch reference in float64."""

import pytest
import torch
from tolerance import assert_close

from sklinvariant._precision import computing_in
from sklinvariant.ops import pair_products
from sklinvariant.pooling import AutoPooling


def case(n, d, offset=0.0):
    generator = torch.Generator().manual_seed(n)
    follows = torch.rand(n - 1, generator=generator) < 0.8
    return torch.randn(n, d, generator=generator) + offset, follows


@pytest.mark.parametrize("with_first", [False, True])
@pytest.mark.parametrize(("n", "d"), [(2, 1), (7, 3), (100, 24), (33, 128), (5, 130), (40, 513)])
def test_pair_products(kernels, n, d, with_first):
    rows, follows = case(n, d)
    sums = pair_products(rows.to(kernels), follows.to(kernels), 2.0, with_first)
    expected = pair_products(rows.double(), follows, 2.0, with_first)  # in float64, for which there is no kernel
    assert len(sums) == len(expected) == 2 + with_first
    for got, wanted in zip(sums, expected, strict=True):
        assert got.dtype == torch.float64
        assert_close(got, wanted, rtol=1e-6)
        assert torch.equal(got, got.T)


@pytest.mark.parametrize("follows", [torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)])
def test_no_pair_and_only_pairs(kernels, follows):
    rows = case(5, 3)[0]
    for got, wanted in zip(
        pair_products(rows.to(kernels), follows.to(kernels), 1.0, True),
        pair_products(rows.double(), follows, 1.0, True),
        strict=True,
    ):
        assert_close(got, wanted, rtol=1e-6)


def test_parts_of_the_rows(kernels, monkeypatch):
    from sklinvariant.ops.gpu import _pair_products

    monkeypatch.setattr(_pair_products, "SINGLE_ROWS", 64)
    monkeypatch.setattr(_pair_products, "PROGRAMS", 3)
    rows, follows = case(500, 3)
    sums, again = (pair_products(rows.to(kernels), follows.to(kernels)) for _ in range(2))
    for got, repeated, wanted in zip(sums, again, pair_products(rows.double(), follows), strict=True):
        assert_close(got, wanted, rtol=1e-6)
        assert torch.equal(got, repeated)


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e30])
def test_extreme_units(kernels, size):
    """Squares that overflow float32: rows are scaled before they are multiplied."""
    rows, follows = case(20, 3)
    rows = rows * size
    expected = pair_products(rows.double(), follows, size)
    for got, wanted in zip(pair_products(rows.to(kernels), follows.to(kernels), size), expected, strict=True):
        assert_close(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_slow_video(kernels, precision):
    """Changes of 1e-5, for which the difference of the sums would lose all digits, in every precision."""
    rows, follows = case(200, 3)
    rows = 1 + 1e-5 * rows
    with computing_in(precision):
        _, change = pair_products(rows.to(kernels), follows.to(kernels))
    assert_close(change, pair_products(rows.double(), follows)[1], rtol=1e-5)


def test_values_outside_pairs_do_not_count(kernels):
    rows, follows = case(9, 3)
    follows[3:5] = False  # row 4 is in no pair
    expected = pair_products(rows.to(kernels), follows.to(kernels), with_first=True)
    rows[4] = torch.inf
    for got, wanted in zip(
        pair_products(rows.to(kernels), follows.to(kernels), with_first=True), expected, strict=True
    ):
        assert_close(got, wanted)


def test_the_first_sum_does_not_count_rows_that_are_only_second(kernels):
    rows, follows = case(5, 3)[0], torch.tensor([True, False, True, True])
    expected = pair_products(rows.to(kernels), follows.to(kernels), with_first=True)[2]
    rows[1] = torch.nan
    assert_close(pair_products(rows.to(kernels), follows.to(kernels), with_first=True)[2], expected)


@pytest.mark.parametrize("cross_reconstruction", [False, True])
def test_auto_pooling(kernels, count_launches, cross_reconstruction):
    """The fitted components are those of float64, in which there is no kernel."""
    rows = case(60, 6)[0].cumsum(0).abs()
    settings = {"solver": "moment", "standardize": False, "cross_reconstruction": cross_reconstruction}
    model = AutoPooling(2, **settings, random_state=0, device=kernels)
    expected = model.fit(rows.double().to(kernels)).components_
    assert count_launches == []
    assert_close(model.fit(rows.to(kernels)).components_, expected, rtol=1e-3)
    assert count_launches == ["_pairs_kernel"]
