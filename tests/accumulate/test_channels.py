"""The mean and standard deviation of channels, of images of one size and of several sizes."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.accumulate import _channels, channel_spread


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_of_one_size_and_a_list_of_them(dtype):
    images = np.random.RandomState(0).randint(0, 255, (300, 2, 5, 4)).astype(dtype)
    values = images / (255 if dtype == np.uint8 else 1)
    for given in (torch.from_numpy(images), list(torch.from_numpy(images))):
        mean, deviation = channel_spread(given)
        assert mean.shape == deviation.shape == (2, 1, 1)
        assert_close(mean.flatten(), values.mean((0, 2, 3)), rtol=1e-6)
        assert_close(deviation.flatten(), values.std((0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("n_values", [1, 50, 400])
def test_large_images_are_read_in_strips(monkeypatch, n_values):
    images = torch.rand(6, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    whole = channel_spread(images)
    monkeypatch.setattr(_channels, "_VALUES", n_values)
    sizes = [len(part) * part.shape[1] for part in _channels._Pixels(images)]
    assert max(sizes) <= max(n_values, 3 * 5)  # at least a row of pixels
    for given in (images, list(images)):
        assert_close(torch.stack(channel_spread(given)), torch.stack(whole))


def test_images_of_several_sizes_count_by_their_pixels():
    large, small = np.zeros((1, 6, 6)), np.ones((1, 2, 2))
    mean, deviation = channel_spread([torch.from_numpy(large), torch.from_numpy(small)])
    assert_close([mean.item(), deviation.item()], [0.1, 0.3])
