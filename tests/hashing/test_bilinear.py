"""Bilinear hashing: two projections, and the sizes that it accepts."""

import numpy as np
import pytest

from sklinvariant.hashing import BilinearHasher
from sklinvariant.hashing._bilinear import nearest_to_square


def test_bilinear_is_two_projections(X):
    hasher = BilinearHasher(6, layout=(3, 4), random_state=0).fit(X)
    left, right = hasher._state["left"], hasher._state["right"]
    assert left.shape[1] * right.shape[1] == 6
    for matrix in (left, right):
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-10)
    rows = (X - X.mean(0)).reshape(-1, 3, 4)
    expected = np.einsum("pk,npq,qc->nkc", left, rows, right).reshape(len(X), -1)
    np.testing.assert_allclose(hasher.decision_function(X), expected)
    at_random = BilinearHasher(6, layout=(3, 4), max_iter=0, random_state=0).fit(X).decision_function(X)
    # learning raises what it maximises, the sum of absolute projections
    assert np.abs(hasher.decision_function(X)).sum() > np.abs(at_random).sum()
    assert [nearest_to_square(size) for size in (12, 7, 512)] == [(3, 4), (1, 7), (16, 32)]


def test_bilinear_sizes(X):
    with pytest.raises(ValueError, match="n_bits=7 is not a product of two integers of at most 3"):
        BilinearHasher(7).fit(X)
    with pytest.raises(ValueError, match="layout"):
        BilinearHasher(4, layout=(5, 2)).fit(X)
