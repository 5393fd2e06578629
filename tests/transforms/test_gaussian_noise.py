"""GaussianNoise: its distribution, and its own generator."""

import numpy as np

from sklinvariant.transforms import GaussianNoise


def test_noise_is_normal_and_its_own():
    black = np.zeros((3, 64, 64, 3), np.float32)
    noise = GaussianNoise().apply(black, [[0.5, 1], [0.5, 2], [0.25, 1]])
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.std((1, 2, 3)), [0.5, 0.5, 0.25], rtol=0.03)
    np.testing.assert_allclose(noise.mean((1, 2, 3)), 0, atol=0.02)
    np.testing.assert_allclose(noise[2] * 2, noise[0], atol=1e-6)  # the same seed
    flat = noise.reshape(3, -1)[:2]
    lagged = [
        np.corrcoef(flat[0], flat[1])[0, 1],
        *(np.corrcoef(flat[0, lag:], flat[0, :-lag])[0, 1] for lag in (1, 3, 64)),
    ]
    assert np.abs(lagged).max() < 0.04
    from scipy.stats import kstest

    assert kstest(flat[0] / 0.5, "norm").pvalue > 1e-3
