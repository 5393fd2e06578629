"""Bags of any and of equal sizes, and the units of their descriptors."""

import numpy as np
import pytest
import torch

from sklinvariant.networks import EqualBags
from sklinvariant.networks._encoders._bags import BagEncoder
from sklinvariant.ops import Scores


@pytest.mark.parametrize("order", [0, 1, 2])
def test_bags_of_equal_sizes_have_the_moments_of_bags(as_input, bags, order):
    some = [bags[0], bags[2][:4]]
    scores = Scores(torch.randn(3, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64), torch.zeros(3), 1.0)
    ragged = as_input(some).moments(scores, order, None)
    equal = EqualBags(torch.as_tensor(np.stack(some))).moments(scores, order)
    assert len(ragged) == len(equal) == order + 1
    for one, other in zip(ragged, equal, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_counts(as_input, bags):
    given = as_input(bags)
    assert given.counts(given.values).tolist() == [[4], [1], [7], [1]]
    assert given.counts(given.values, floor=0).tolist() == [[4], [0], [7], [1]]
    assert EqualBags(torch.zeros(2, 5, 3)).counts(torch.zeros(1)).tolist() == [[5]]


def test_values_pass_through_the_units(units):
    encoder, x = BagEncoder(units, torch.float64), np.array([[4.0, 1, 3.5]])
    np.testing.assert_allclose(encoder.inward(x), (x - units.shift) / units.scale)
    np.testing.assert_allclose(encoder.outward(encoder.inward(x)), x)
