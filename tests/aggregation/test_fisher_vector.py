"""FisherVector against scikit-image."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from sklinvariant.aggregation import FisherVector


@pytest.mark.parametrize("improved", [False, True])
def test_fisher_vector_agrees_with_scikit_image(ragged, improved):
    fisher_vector = pytest.importorskip("skimage.feature").fisher_vector
    bags = [bag for bag in ragged if len(bag)]
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0).fit(np.concatenate(bags))
    model = FisherVector(mixture=mixture, improved=False, weight_terms=True).fit(bags)
    k, d = 3, 4
    for bag, row in zip(bags, model.transform(bags), strict=True):
        peer = fisher_vector(bag, mixture)
        peer[k + k * d :] *= -1  # its derivatives to the deviations have the opposite sign
        np.testing.assert_allclose(row, peer, rtol=1e-5, atol=1e-5)
    if improved:
        plain = FisherVector(mixture=mixture, improved=False).fit_transform(bags)
        expected = np.sign(plain) * np.sqrt(np.abs(plain))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(FisherVector(mixture=mixture).fit_transform(bags), expected, atol=1e-3)
