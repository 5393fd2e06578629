"""Normalisation of residuals against its formulas."""

import numpy as np
import pytest
import torch

from sklinvariant.networks import normalize_vlad
from sklinvariant.networks._encoders._normalization import power_normalize


def test_power_normalisation_is_the_signed_root():
    x = torch.tensor([-4.0, 0.0, 9.0, 1e-12], dtype=torch.float64, requires_grad=True)
    roots = power_normalize(x)
    np.testing.assert_allclose(roots.detach(), [-2, 0, 3, 1e-9], atol=1e-12)  # linear below 1e-6
    roots.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("normalization", ["l2", "power", "intra", None])
def test_residuals_are_normalised(normalization, global_random_seed):
    residuals = np.random.RandomState(global_random_seed).normal(size=(4, 3, 2))
    residuals[0, 1] = 0
    expected = residuals * 7 if normalization is None else residuals
    if normalization == "intra":
        lengths = np.linalg.norm(residuals, axis=2, keepdims=True)
        expected = residuals / np.where(lengths > 0, lengths, 1)
    if normalization == "power":
        expected = np.sign(residuals) * np.abs(residuals) ** 0.5
    expected = expected.reshape(4, 6)
    if normalization is not None:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(normalize_vlad(torch.as_tensor(residuals), normalization, 7.0), expected, atol=1e-12)


@pytest.mark.parametrize("normalization", ["l2", "power", "intra"])
def test_rounding_errors_are_no_direction(normalization):
    residuals = torch.full((1, 2, 3), 1e-17, dtype=torch.float64)
    assert not normalize_vlad(residuals, normalization, 1.0).any()
