"""Moments of an orbit against equation 2, computed at once and step by step."""

import math

import pytest
import torch

from sklinvariant.ops import Moment, moment


@pytest.mark.parametrize("order", [1, 2, 3.5, math.inf])
@pytest.mark.parametrize("printed", [False, True])
def test_moments_are_equation_2(order, printed, global_random_seed):
    generator = torch.Generator().manual_seed(global_random_seed)
    x = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64)
    if order == 1:
        expected = x.mean(1)
    elif order == math.inf:
        expected = x.amax(1)
    else:
        expected = (x.abs() ** order).mean(1) ** (1 / order)
    if printed:  # 1/m (Σ |f|ⁿ)^(1/n)
        expected = expected * 4 ** (1 / order) / 4
    torch.testing.assert_close(moment(x, order, 1, printed), expected)
    one_by_one = Moment(order, printed)
    for element in x.unbind(1):
        one_by_one.add(element)
    torch.testing.assert_close(one_by_one.result(), expected)


def test_high_orders_do_not_overflow():
    x = torch.tensor([[1e30, 2e30, 3e30]])
    torch.testing.assert_close(moment(x, 20, 1) / 1e30, moment(x / 1e30, 20, 1))
    assert moment(torch.zeros(1, 3), 3, 1) == 0
