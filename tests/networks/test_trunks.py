"""Trunks: which one is chosen, the features of each, Sobel edges."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from sklinvariant.networks._trunks import GreyEdges, mlp_trunk, resnet_trunk, trunk_for, vgg_trunk


@pytest.mark.parametrize(
    ("shape", "first", "width"),
    [
        ((7,), nn.Flatten, 256),
        ((8, 8, 3), nn.Flatten, 256),
        ((24, 24, 1), nn.Conv2d, 512 * 3 * 3),
        ((24, 24, 3), GreyEdges, 512),
    ],
)
def test_the_trunk_depends_on_the_samples(shape, first, width):
    trunk = trunk_for(shape, generator=torch.Generator().manual_seed(0))
    assert isinstance(trunk[0], first)
    inside = shape if len(shape) == 1 else (shape[2], *shape[:2])
    assert trunk.eval()(torch.zeros(2, *inside)).shape == (2, width)


def test_images_are_needed_for_convolutions():
    with pytest.raises(ValueError, match='network="vgg" requires images'):
        trunk_for((7,), "vgg")


@pytest.mark.parametrize("make", [lambda g: mlp_trunk(5, 4, generator=g), lambda g: vgg_trunk(1, (2, 3), generator=g)])
def test_the_generator_draws_all_weights(make):
    before = torch.get_rng_state()
    first, again = (make(torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_edges_are_sobels_of_the_mean_channel():
    images = np.random.RandomState(0).rand(2, 3, 6, 7)
    edges = GreyEdges()(torch.tensor(images)).numpy()
    for image, (across, down) in zip(images.mean(1), edges, strict=True):
        np.testing.assert_allclose(across, ndimage.sobel(image, axis=1, mode="nearest") / 8, atol=1e-12)
        np.testing.assert_allclose(down, ndimage.sobel(image, axis=0, mode="nearest") / 8, atol=1e-12)


def test_a_residual_network_adds_its_input():
    """With weights of zero, blocks that keep the shape return their input."""
    trunk = resnet_trunk((2,), (2,), generator=torch.Generator().manual_seed(0)).eval()
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    before = trunk[:5](images)
    for block in trunk[5:7]:
        for parameter in block.inside.parameters():
            parameter.data.zero_()
    torch.testing.assert_close(trunk[5:7](before), before)
