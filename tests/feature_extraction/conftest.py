"""Fixtures of the extractors."""

import numpy as np
import pytest
import torch


@pytest.fixture
def images(global_random_seed):
    """Smooth colour images with flat and nearly flat parts, where dividing by the contrast is hardest."""
    rng = np.random.RandomState(global_random_seed)
    coarse = torch.tensor(rng.rand(6, 3, 6, 5))
    images = torch.nn.functional.interpolate(coarse, (20, 17), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).numpy()
    images[0] = 0.9
    images[1, :9] = 0.2 + 1e-4 * rng.rand(9, 17, 3)
    return images.astype(np.float32)


@pytest.fixture
def two_channels():
    """3 images of 12 x 10 pixels."""
    return np.random.RandomState(0).rand(3, 12, 10, 2)
