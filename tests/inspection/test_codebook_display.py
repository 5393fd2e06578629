"""Codewords as tiles."""

import numpy as np

from sklinvariant.inspection import CodebookDisplay


def shown(display):
    return np.asarray(display.ax_.images[0].get_array())


def test_codewords_are_tiles_over_their_own_range(pyplot):
    codebook = np.arange(20.0).reshape(5, 4)
    codebook[4] = 7
    image = shown(CodebookDisplay(codebook, (2, 2)).plot())
    assert image.shape == (5, 8)
    np.testing.assert_allclose(image[:2, 3:5].ravel(), [0, 1 / 3, 2 / 3, 1])
    assert (image[3:, 3:5] == 0).all()
    assert (image[3:, 6:] == 1).all()
