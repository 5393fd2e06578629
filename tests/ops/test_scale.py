"""Units that keep squares and products in the range of their dtype."""

import math

import numpy as np
import pytest
import torch

from sklinvariant.ops import check_reach, in_safe_unit, unit_length
from sklinvariant.ops._scale import largest_value, power_of_two, unit_of


@pytest.mark.parametrize("value", [1e-30, 0.3, 1.0, 7.0, 1e30])
def test_powers_of_two_are_near_the_value(value):
    unit = power_of_two(value)
    assert math.frexp(unit)[0] == 0.5
    assert 0.5 <= value / unit <= 1
    assert power_of_two(0.0) == 1


def test_the_largest_value():
    assert largest_value(torch.tensor([1.0, -3.0, 2.0])) == 3
    assert largest_value(torch.empty(0)) == 0
    assert math.isnan(largest_value(torch.tensor([1.0, float("nan")])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_in_their_unit_are_exact_and_have_finite_squares(dtype):
    info = torch.finfo(dtype)
    for size in (info.tiny * 4, 1.0, info.max / 4):
        x = torch.tensor([1.0, -0.3], dtype=dtype) * size
        scaled, unit = in_safe_unit(x)
        assert torch.equal(scaled * unit, x)
        assert torch.isfinite(scaled.square().square()).all()
        assert (scaled.square() > 0).all()
    assert in_safe_unit(torch.ones(2, dtype=dtype))[1] == unit_of(1.0, dtype) == 1


@pytest.mark.parametrize("size", [1e-40, 1e-20, 1.0, 1e20, 8e37])
def test_unit_length_at_any_scale(size):
    x = torch.tensor([[3.0, -4.0], [0.0, 0.0]]) * size
    expected = [[0.6, -0.8], [0.0, 0.0]]
    np.testing.assert_allclose(unit_length(x), expected, rtol=1e-4 if size < 1e-38 else 1e-6)  # a denormal is coarse


@pytest.mark.parametrize(
    ("largest", "fitting", "message"),
    [
        (1e37, False, "too large .* divide X .*pass float64"),
        (1e-37, True, "too small .* multiply X"),
        (1e-37, False, None),
    ],
)
def test_reach(largest, fitting, message):
    if message is None:
        check_reach(largest, torch.float32, "X", fitting=fitting)
        return
    with pytest.raises(ValueError, match=message):
        check_reach(largest, torch.float32, "X", fitting=fitting)
    check_reach(largest, torch.float64, "X", fitting=fitting)
