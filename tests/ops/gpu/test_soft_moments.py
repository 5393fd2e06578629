"""Kernels of soft moments, forward and backward, against the torch reference in float64."""

import itertools

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant._settings import computing_in
from sklinvariant.ops import Scores, soft_moments

RAGGED = [3, 0, 41, 70, 1, 0]
SHAPES = [  # sizes of bags, k, d
    ([1], 2, 1),
    (RAGGED, 70, 3),
    ([5] * 6, 5, 24),
    ([40, 31], 33, 128),
    ([20, 0, 15], 130, 200),
    ([9, 12], 17, 513),
]


def case(sizes, k, d, powers, dtype=torch.float32, offset=0.0):
    """Values, offsets and scores in float64 that float32 represents exactly."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape, scale=1.0):
        return (torch.randn(*shape, generator=generator) * scale).to(dtype).double()

    offsets = np.concatenate([[0], np.cumsum(sizes)])
    values = (randn(offsets[-1], d, scale=2.0) + offset).to(dtype).double()
    shift = torch.full((d,), offset, dtype=torch.float64)
    weight, bias = randn(powers * d, k, scale=d**-0.5), randn(k)
    return values, offsets, Scores(weight, bias, shift, torch.tensor(2.0, dtype=torch.float64))


def results(values, offsets, scores, order, seed=1):
    """The moments and the gradients of values, weight and bias."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in (values, scores.weight, scores.bias)]
    moments = soft_moments(inputs[0], offsets, Scores(*inputs[1:], scores.shift, scores.scale), order)
    generator = torch.Generator().manual_seed(seed)
    probes = [torch.randn(part.shape, generator=generator).to(part) for part in moments]
    gradients = torch.autograd.grad(sum((a * b).sum() for a, b in zip(moments, probes, strict=True)), inputs)
    return [*moments, *gradients]


def on(device, values, offsets, scores, dtype=torch.float32):
    return values.to(device, dtype), offsets, Scores(*(part.to(device, torch.float32) for part in scores))


@pytest.mark.parametrize(("sizes", "k", "d"), SHAPES)
@pytest.mark.parametrize(("powers", "order"), list(itertools.product((1, 2), (0, 1, 2))))
def test_moments_and_gradients(kernels, sizes, k, d, powers, order):
    data = case(sizes, k, d, powers)
    expected = results(*data, order)
    for got, wanted in zip(results(*on(kernels, *data), order), expected, strict=True):
        assert got.dtype == torch.float32
        assert_close(got, wanted)
