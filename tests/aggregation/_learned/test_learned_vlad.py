"""LearnedVLAD: the representation is that of equation 9 with the learned codewords."""

import numpy as np
import pytest
from scipy.special import softmax

from sklinvariant.aggregation import LearnedVLAD


@pytest.mark.parametrize("normalization", [None, "l2", "intra"])
def test_the_representation_is_a_loop(two_classes, normalization):
    X, y = two_classes
    model = LearnedVLAD(3, max_epochs=2, normalization=normalization, random_state=0).fit(X, y)
    assert (model.codebook_ != LearnedVLAD(3, max_epochs=0, random_state=0).fit(X, y).codebook_).any()
    for bag, row in zip(X[:5], model.transform(X[:5]), strict=True):
        distances = ((bag[:, None] - model.codebook_) ** 2 / model.covariances_).sum(-1)
        shares = softmax(-model.gamma_ * distances, axis=1)
        expected = np.einsum("nk,nkd->kd", shares, bag[:, None] - model.codebook_) / len(bag)
        if normalization == "intra":
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        if normalization is not None:
            expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(row, expected.ravel(), atol=1e-9)
