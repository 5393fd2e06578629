"""Spectral hashing by its definition."""

import numpy as np
import torch

from sklinvariant.hashing import PCAHasher, SpectralHasher
from sklinvariant.hashing._spectral import smoothest_waves


def test_spectral_by_its_definition(X):
    hasher = SpectralHasher(10).fit(X)
    V = PCAHasher(10).fit(X).decision_function(X)
    low, high = V.min(0), V.max(0)
    modes = sorted(((k / (high[i] - low[i])) ** 2, i, k) for i in range(10) for k in range(1, 11))[:10]
    waves = np.stack([np.sin(np.pi / 2 + k * np.pi * (V[:, i] - low[i]) / (high[i] - low[i])) for _, i, k in modes], 1)
    np.testing.assert_allclose(hasher.decision_function(X), waves, atol=1e-8)
    which, half_waves = smoothest_waves(torch.tensor([3.0, 1.0]), 4)
    assert which.tolist() == [0, 0, 0, 1]
    assert half_waves.tolist() == [1, 2, 3, 1]
