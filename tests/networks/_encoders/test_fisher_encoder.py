"""Fisher vectors against derivatives of the likelihood, and what their encoder exports."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sklinvariant.networks import SoftFisherVector


def test_fisher_vectors_are_the_gradient_of_the_likelihood(as_input, units, bags):
    """Derivatives by means and deviations (finite differences) over the square root of the Fisher information."""
    bag, step = bags[2], 1e-5
    mixture = GaussianMixture(2, covariance_type="diag", random_state=0).fit(np.concatenate(bags))
    weights, means, variances = mixture.weights_, mixture.means_, mixture.covariances_
    encoder = SoftFisherVector((weights, means, variances), units, dtype=torch.float64, improved=False)
    u, v = encoder(as_input([bag])).detach().numpy().reshape(2, 2, 3)

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


def test_a_mixture_comes_back_in_units_of_the_data(units, parts):
    means, variances, _ = parts
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    state = SoftFisherVector((weights, means, variances), units, dtype=torch.float64).export()
    np.testing.assert_allclose(state["weights"], weights, rtol=1e-10)
    np.testing.assert_allclose(state["means"], means, rtol=1e-10)
    np.testing.assert_allclose(state["covariances"], variances, rtol=1e-10)
