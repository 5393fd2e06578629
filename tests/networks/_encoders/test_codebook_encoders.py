"""Soft bags of words and VLAD against loops over descriptors, and what they export."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from sklinvariant.networks import SoftBagOfWords, SoftVLAD


def _shares(bag, codebook, covariances, gamma):
    distances = ((bag[:, None] - codebook) ** 2 / covariances).sum(-1)
    return softmax(-gamma * distances, axis=1)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("diagonal", [False, True])
def test_soft_assignments_are_a_loop(as_input, units, bags, parts, diagonal, chunk_size):
    codebook, covariances, gamma = parts
    given = covariances if diagonal else None
    kwargs = {"dtype": torch.float64, "chunk_size": chunk_size}
    words = SoftBagOfWords(codebook, given, gamma, units, **kwargs)(as_input(bags)).detach()
    vlad = SoftVLAD(codebook, given, gamma, units, **kwargs)(as_input(bags)).detach()
    for bag, row, residuals in zip(bags, words, vlad, strict=True):
        shares = _shares(bag, codebook, covariances if diagonal else 1.0, gamma)
        expected = sum((q[:, None] * (f - codebook) for f, q in zip(bag, shares, strict=True)), np.zeros((4, 3)))
        np.testing.assert_allclose(row, shares.sum(0) / max(len(bag), 1), atol=1e-10)
        np.testing.assert_allclose(residuals, expected.ravel() / max(len(bag), 1), atol=1e-9)


def test_codewords_and_covariances_come_back_in_units_of_the_data(units, parts):
    codebook, covariances, gamma = parts
    state = SoftBagOfWords(codebook, covariances, gamma, units, dtype=torch.float64).export()
    np.testing.assert_allclose(state["codebook"], codebook, rtol=1e-12)
    np.testing.assert_allclose(state["covariances"], covariances, rtol=1e-12)
    assert state["gamma"] == pytest.approx(gamma)
