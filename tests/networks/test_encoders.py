"""Encoders of bags against loops over descriptors, their units, and what they export."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.mixture import GaussianMixture

from sklinvariant.networks import Bags, MeanEncoder, SoftBagOfWords, SoftFisherVector, SoftVLAD, Units

UNITS = Units(np.array([1.0, -2.0, 0.5]), 3.0)


@pytest.fixture
def bags(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return [UNITS.shift + UNITS.scale * rng.normal(size=(size, 3)) for size in (4, 0, 7, 1)]


@pytest.fixture
def parts(global_random_seed):
    """Codewords, covariances and γ, in units of the data."""
    rng = np.random.RandomState(global_random_seed + 1)
    return UNITS.shift + UNITS.scale * rng.normal(size=(4, 3)), rng.uniform(0.5, 2, (4, 3)), 0.2


def _input(bags):
    offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])])
    return Bags(torch.as_tensor(np.concatenate(bags)), offsets)


def _shares(bag, codebook, covariances, gamma):
    distances = ((bag[:, None] - codebook) ** 2 / covariances).sum(-1)
    return softmax(-gamma * distances, axis=1)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("diagonal", [False, True])
def test_soft_assignments_are_a_loop(bags, parts, diagonal, chunk_size):
    codebook, covariances, gamma = parts
    given = covariances if diagonal else None
    kwargs = {"dtype": torch.float64, "chunk_size": chunk_size}
    words = SoftBagOfWords(codebook, given, gamma, UNITS, **kwargs)(_input(bags)).detach()
    vlad = SoftVLAD(codebook, given, gamma, UNITS, **kwargs)(_input(bags)).detach()
    for bag, row, residuals in zip(bags, words, vlad, strict=True):
        shares = _shares(bag, codebook, covariances if diagonal else 1.0, gamma)
        expected = sum((q[:, None] * (f - codebook) for f, q in zip(bag, shares, strict=True)), np.zeros((4, 3)))
        np.testing.assert_allclose(row, shares.sum(0) / max(len(bag), 1), atol=1e-10)
        np.testing.assert_allclose(residuals, expected.ravel() / max(len(bag), 1), atol=1e-9)


def test_codewords_and_covariances_come_back_in_units_of_the_data(parts):
    codebook, covariances, gamma = parts
    state = SoftBagOfWords(codebook, covariances, gamma, UNITS, dtype=torch.float64).export()
    np.testing.assert_allclose(state["codebook"], codebook, rtol=1e-12)
    np.testing.assert_allclose(state["covariances"], covariances, rtol=1e-12)
    assert state["gamma"] == pytest.approx(gamma)


def test_fisher_vectors_are_the_gradient_of_the_likelihood(bags):
    """Derivatives by means and deviations (finite differences) over the square root of the Fisher information."""
    bag, step = bags[2], 1e-5
    mixture = GaussianMixture(2, covariance_type="diag", random_state=0).fit(np.concatenate(bags))
    weights, means, variances = mixture.weights_, mixture.means_, mixture.covariances_
    encoder = SoftFisherVector((weights, means, variances), UNITS, dtype=torch.float64, improved=False)
    u, v = encoder(_input([bag])).detach().numpy().reshape(2, 2, 3)

    def likelihood(means, deviations):
        z = (bag[:, None] - means) / deviations
        log = np.log(weights) - 0.5 * (z**2).sum(-1) - np.log(deviations).sum(-1)
        return np.logaddexp.reduce(log, axis=1).mean()

    deviations = np.sqrt(variances)
    near = {"rel": 1e-3, "abs": 1e-5}
    for k in range(2):
        for d in range(3):
            move = np.zeros((2, 3))
            move[k, d] = step
            to_mean = (likelihood(means + move, deviations) - likelihood(means - move, deviations)) / (2 * step)
            to_deviation = (likelihood(means, deviations + move) - likelihood(means, deviations - move)) / (2 * step)
            assert u[k, d] == pytest.approx(to_mean * deviations[k, d] / np.sqrt(weights[k]), **near)
            assert v[k, d] == pytest.approx(
                to_deviation * deviations[k, d] / np.sqrt(2 * weights[k]), rel=1e-3, abs=1e-5
            )


def test_a_mixture_comes_back_in_units_of_the_data(parts):
    means, variances, _ = parts
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    state = SoftFisherVector((weights, means, variances), UNITS, dtype=torch.float64).export()
    np.testing.assert_allclose(state["weights"], weights, rtol=1e-10)
    np.testing.assert_allclose(state["means"], means, rtol=1e-10)
    np.testing.assert_allclose(state["covariances"], variances, rtol=1e-10)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_the_mean_of_a_module(bags, chunk_size):
    encoder = MeanEncoder(lambda x: torch.cat([x, x.square()], dim=1), UNITS, torch.float64, chunk_size)
    rows = encoder(encoder.prepare(_input(bags), "cpu"))
    for bag, row in zip(bags, rows, strict=True):
        z = (bag - UNITS.shift) / UNITS.scale
        expected = np.concatenate([z, z**2], axis=1).sum(0) / max(len(bag), 1)
        np.testing.assert_allclose(row, expected, atol=1e-12)
