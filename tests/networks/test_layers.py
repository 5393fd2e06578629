"""Layers that do not depend on torch's defaults."""

import pytest
import torch

from sklinvariant.networks._layers import conv2d, linear


@pytest.mark.parametrize("make", [lambda g: linear(5, 3, generator=g), lambda g: conv2d(2, 3, 3, generator=g)])
def test_the_generator_draws_all_weights_within_torchs_bounds(make):
    before = torch.get_rng_state()
    first, again, other = (make(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    bound = first.weight[0].numel() ** -0.5  # of torch.nn.Linear and Conv2d
    for one, two, three in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
        assert one.dtype == torch.float32
        assert bound / 2 < one.abs().max() <= bound


def test_without_a_generator_layers_are_those_of_torch():
    torch.manual_seed(0)
    ours = linear(5, 3)
    torch.manual_seed(0)
    theirs = torch.nn.Linear(5, 3)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
