"""Fixtures of the transformations."""

import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture
def images(global_random_seed):
    """Smooth colour images, for which the interpolation error is small."""
    noise = np.random.RandomState(global_random_seed).rand(5, 24, 32, 3)
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3, 0), mode="nearest")
    return (smooth - smooth.min()) / np.ptp(smooth)
