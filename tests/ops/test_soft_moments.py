"""The chunked kernel against computing the whole (N, k) matrix at once, forward and backward."""

import itertools

import numpy as np
import pytest
import torch

from sklinvariant.ops import Scores, _soft_moments, soft_moments, weighted_moments

SIZES = ([3, 0, 5, 5, 5, 60, 1, 1, 2, 0], [7] * 10, [1] * 30, [40, 40], [0, 0, 1])


def _case(sizes, quadratic, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    offsets = np.concatenate([[0], np.cumsum(sizes)])
    d, k = 3, 5
    values, weight, bias = randn(offsets[-1], d), randn(d * (1 + quadratic), k), randn(k)
    for tensor in (values, weight, bias):
        tensor.requires_grad_()
    return values, offsets, Scores(weight, bias, randn(d).detach(), torch.tensor(1.7, dtype=torch.float64))


def _naive(values, offsets, scores, order):
    x = (values - scores.shift) / scores.scale
    phi = torch.cat([x, x * x], 1) if len(scores.weight) == 2 * x.shape[1] else x
    q = torch.softmax(phi @ scores.weight + scores.bias, 1)
    bags = list(itertools.pairwise(offsets))
    out = [torch.stack([q[a:b].sum(0) for a, b in bags])]
    for power in range(1, order + 1):
        out.append(torch.stack([q[a:b].T @ x[a:b] ** power for a, b in bags]))
    return out


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("chunk_size", [1, 8, None])
def test_agrees_with_naive(sizes, quadratic, order, chunk_size):
    values, offsets, scores = _case(sizes, quadratic)
    expected = _naive(values, offsets, scores, order)
    got = soft_moments(values, offsets, scores, order, chunk_size)
    probe = [torch.randn_like(part) for part in expected]
    inputs = (values, scores.weight, scores.bias)
    grad_expected = torch.autograd.grad(sum((a * b).sum() for a, b in zip(expected, probe, strict=True)), inputs)
    grad_got = torch.autograd.grad(sum((a * b).sum() for a, b in zip(got, probe, strict=True)), inputs)
    for a, b in zip([*expected, *grad_expected], [*got, *grad_got], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_gradcheck(order):
    values, offsets, scores = _case([3, 0, 2], True)

    def function(values, weight, bias):
        return soft_moments(values, offsets, Scores(weight, bias, scores.shift, scores.scale), order, 2)

    assert torch.autograd.gradcheck(function, (values, scores.weight, scores.bias))


def test_posteriors_sum_to_one():
    values, _, scores = _case([9], True)
    torch.testing.assert_close(
        soft_moments(values, np.arange(10), scores, 0)[0].sum(1), torch.ones(9, dtype=torch.float64)
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.int32])
def test_values_of_any_dtype(dtype):
    _, offsets, scores = _case([4, 6], False)
    values = torch.arange(30).reshape(10, 3).to(dtype)
    got = soft_moments(values, offsets, scores, 1)
    for a, b in zip(got, soft_moments(values.double(), offsets, scores, 1), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_weighted_moments(rows, monkeypatch):
    """Rows in chunks of any size against the moments of each row."""
    monkeypatch.setattr(_soft_moments, "_LEAST_ROWS", 1)
    monkeypatch.setattr(_soft_moments, "chunk_rows", lambda *args: rows)
    values, _, scores = _case([30], True)
    values, weight, bias = (part.detach() for part in (values, scores.weight, scores.bias))
    row_weights = torch.rand(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    phi = torch.cat([values, values**2], dim=1)
    q = torch.softmax(phi @ weight + bias, dim=1) * row_weights[:, None]
    mass, sums, likelihood = weighted_moments(values, row_weights, weight, bias)
    torch.testing.assert_close(mass, q.sum(0))
    torch.testing.assert_close(sums, q.T @ phi)
    torch.testing.assert_close(likelihood, (row_weights * (phi @ weight + bias).exp().sum(1).log()).sum())
