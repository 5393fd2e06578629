"""Steps of k-means and of mixtures against plain loops, and their fixed points."""

import numpy as np
import torch
from examples import blobs
from scipy.stats import norm
from tolerance import assert_close

from sklinvariant.accumulate import (
    Blocks,
    codeword_shares,
    fit_kmeans,
    fit_mixture,
    step_kmeans,
    step_mixture,
    step_size,
)
from sklinvariant.ops import Mixture


def _blocks(rows):
    return Blocks(rows, torch.ones(len(rows), dtype=rows.dtype), size=100)


def test_steps_of_equal_parts_decay():
    assert_close([step_size(earlier, 50) for earlier in (0, 50, 100)], [1, 2**-0.7, 3**-0.7])
    assert step_size(1_000_000, 1) < step_size(1_000_000, 1000) < 0.01


def test_a_step_of_kmeans_is_a_loop():
    rows = blobs(n=300)
    codebook, shares, step = rows[:4] + 1, torch.tensor([0.4, 0.3, 0.3, 0.0], dtype=torch.float64), 0.3
    codebook[3] = 1e3  # a codeword without rows, which stays
    moved = codebook.numpy()
    for _ in range(3):
        labels = ((rows.numpy()[:, None] - moved) ** 2).sum(-1).argmin(1)
        mean = np.eye(4)[labels]
        new = 0.7 * shares.numpy() + 0.3 * mean.mean(0)
        total = 0.7 * shares.numpy()[:, None] * codebook.numpy() + 0.3 * mean.T @ rows.numpy() / 300
        moved = np.where(new[:, None] > 0, total / np.maximum(new, 1e-300)[:, None], codebook.numpy())
    actual = step_kmeans(_blocks(rows), codebook, shares, step)
    assert_close(actual[0], moved)
    assert_close(actual[1], new)


def test_a_step_of_a_mixture_is_a_loop():
    rows = blobs(n=300)
    weights, means, variances = torch.tensor([0.5, 0.3, 0.2]).double(), rows[:3] + 0.5, torch.rand(3, 3).double() + 1
    x, mu, var = rows.numpy(), means.numpy(), variances.numpy()
    q = weights.numpy() * norm.pdf(x[:, None], mu, np.sqrt(var)).prod(-1)
    q /= q.sum(1, keepdims=True)
    w = 0.6 * weights.numpy() + 0.4 * q.mean(0)
    first = (0.6 * weights.numpy()[:, None] * mu + 0.4 * q.T @ x / 300) / w[:, None]
    second = (0.6 * weights.numpy()[:, None] * (var + mu**2) + 0.4 * q.T @ x**2 / 300) / w[:, None]
    actual = step_mixture(_blocks(rows), Mixture(weights, means, variances), 0.4)
    for got, expected in zip(actual, (w, first, second - first**2), strict=True):
        assert_close(got, expected, rtol=1e-5)


def test_a_converged_fit_is_a_fixed_point():
    rows, generator = blobs(), torch.Generator().manual_seed(0)
    codebook, _ = fit_kmeans(_blocks(rows), 4, max_iter=100, tol=0, generator=generator)
    shares = codeword_shares(_blocks(rows), codebook)
    assert_close(shares.sum(), 1.0)
    moved, again = step_kmeans(_blocks(rows), codebook, shares, 0.5)
    assert_close(moved, codebook)
    assert_close(again, shares)
    mixture, _, _ = fit_mixture(_blocks(rows), 4, max_iter=500, tol=1e-13, generator=generator)
    for got, expected in zip(step_mixture(_blocks(rows), mixture, 0.5), mixture, strict=True):
        assert_close(got, expected, rtol=1e-4)


def test_a_component_of_weight_0_stays():
    rows = blobs(n=300)
    mixture = Mixture(
        torch.tensor([1.0, 0.0]).double(), torch.stack([rows[0], rows[0] + 1e6]), torch.ones(2, 3).double()
    )
    weights, means, variances = step_mixture(_blocks(rows), mixture, 0.5)
    assert weights.tolist() == [1, 0]
    assert_close(means[1], mixture.means[1])
    assert torch.isfinite(variances).all()
