"""The scores of a mixture against the densities of scipy."""

import numpy as np
import torch
from scipy.stats import multivariate_normal
from tolerance import assert_close

from sklinvariant.ops import Mixture, mixture_scores, soft_moments


def _posteriors(x, scores):
    """(n, k): each row is a bag of its own."""
    return soft_moments(x, np.arange(len(x) + 1), scores)[0]


def test_posteriors_are_those_of_the_densities():
    random = np.random.RandomState(0)
    weights, means, variances = random.dirichlet(np.ones(3)), random.normal(size=(3, 4)), random.uniform(0.5, 2, (3, 4))
    x = random.normal(size=(10, 4))
    shift, scale = random.normal(size=4), 2.0
    densities = [
        weight * multivariate_normal(mean, np.diag(variance)).pdf((x - shift) / scale)
        for weight, mean, variance in zip(weights, means, variances, strict=True)
    ]
    mixture = Mixture(*map(torch.from_numpy, (weights, means, variances)))
    scores = mixture_scores(mixture, torch.from_numpy(shift), torch.tensor(scale, dtype=torch.float64))
    assert_close(_posteriors(torch.from_numpy(x), scores), (np.array(densities) / np.sum(densities, axis=0)).T)


def test_a_component_without_weight_takes_nothing():
    mixture = Mixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.ones(2, 1))
    assert_close(_posteriors(torch.zeros(1, 1), mixture_scores(mixture)), [[1.0, 0.0]])
