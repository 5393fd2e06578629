"""Scores of a mixture against scikit-learn."""

import numpy as np
import torch
from sklearn.mixture import GaussianMixture

from sklinvariant.ops import Mixture, assign_softly, mixture_scores


def test_posteriors_are_those_of_scikit_learn(global_random_seed):
    X = np.random.RandomState(global_random_seed).normal(size=(60, 3)) * [1, 2, 3]
    model = GaussianMixture(4, covariance_type="diag", random_state=0).fit(X)
    mixture = Mixture(*map(torch.as_tensor, (model.weights_, model.means_, model.covariances_)))
    np.testing.assert_allclose(assign_softly(torch.as_tensor(X), mixture_scores(mixture)), model.predict_proba(X))


def test_standardised_mixtures_have_the_same_posteriors(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    X, shift, scale = torch.as_tensor(rng.normal(size=(20, 3)) * 5 + 7), torch.tensor([7.0, 6.0, 8.0]).double(), 5.0
    means, variances = torch.as_tensor(rng.normal(size=(4, 3))), torch.as_tensor(rng.uniform(0.5, 2, (4, 3)))
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    inside = mixture_scores(Mixture(weights, means, variances), shift, torch.tensor(scale).double())
    outside = mixture_scores(Mixture(weights, means * scale + shift, variances * scale**2))
    torch.testing.assert_close(assign_softly(X, inside), assign_softly(X, outside))
