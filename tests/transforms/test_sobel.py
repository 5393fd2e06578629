"""Sobel against scipy."""

import numpy as np
from scipy import ndimage

from sklinvariant.transforms import Sobel


def test_sobel_against_scipy(images):
    ours = Sobel()(images)
    assert ours.shape == (5, 24, 32, 6)
    for channel in range(3):
        for axis, answer in ((1, ours[0, ..., 2 * channel]), (0, ours[0, ..., 2 * channel + 1])):
            theirs = ndimage.sobel(images[0, ..., channel], axis=axis, mode="nearest") / 8
            np.testing.assert_allclose(answer, theirs, atol=1e-12)
