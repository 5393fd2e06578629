"""The module of a `PixelMixture`, against the mixture itself."""

import numpy as np
import pytest
import torch

from sklinvariant.cluster._segmentation._pixel_mixture import PixelMixture
from sklinvariant.cluster._segmentation._segmentation_module import MixtureScores


@pytest.mark.parametrize("layout", [False, True])
def test_the_scores_of_images_are_those_of_each_image(layout):
    rng, d = np.random.RandomState(0), 2 + layout
    form = rng.normal(size=(3, d + 1, d + 1))
    state = {"form": form, "shift": rng.normal(size=d), "scale": 1 + rng.rand(d), "low": 0.1, "high": 0.9}
    mixture = PixelMixture.of_state({**state, "layout": layout}, torch.empty(0, dtype=torch.float64))
    images = torch.from_numpy(rng.rand(4, 2, 7, 5))
    expected = torch.stack([mixture(image) for image in images])
    torch.testing.assert_close(MixtureScores(mixture)(images), expected, rtol=1e-9, atol=1e-9)
