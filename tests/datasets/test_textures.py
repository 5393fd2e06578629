"""Textures: masks and seeds."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.datasets import make_textures

# two epochs on six small images seldom come far
pytestmark = pytest.mark.filterwarnings("ignore:IICSegmenter:sklearn.exceptions.ConvergenceWarning")


def test_textures():
    images, masks = make_textures(8, image_size=32, n_textures=5, random_state=3)
    assert_close(images, make_textures(8, image_size=32, n_textures=5, random_state=3)[0])
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(np.unique(masks)) == set(range(5))
    for texture in range(5):  # nothing in the greys tells them apart
        grey = images[masks == texture]
        assert abs(grey.mean() - 0.5) < 0.05
        assert abs(grey.std() - 0.18) < 0.05
    for params in ({"n_textures": 1}, {"n_textures": 10}, {"image_size": 8}, {"n_images": 0}):
        with pytest.raises(ValueError, match=next(iter(params))):
            make_textures(**params)
