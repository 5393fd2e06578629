"""The trunk of the segmenter: what a pixel sees, sizes, random weights of its own, and tiles."""

import pytest
import torch

from sklinvariant.cluster._segmentation._segmentation_trunk import SegmentationNetwork, SegmentationTrunk, predict_tiles


def _network(seed=0):
    return SegmentationNetwork.start(2, 3, [4, 5], torch.Generator().manual_seed(seed)).eval()


@pytest.mark.parametrize("shape", [(7, 9), (16, 5), (1, 1)])
def test_every_pixel_has_probabilities(shape):
    answers = _network()(torch.rand(2, 2, *shape, generator=torch.Generator().manual_seed(1)))
    for k, probabilities in zip((4, 5), answers, strict=True):
        assert probabilities.shape == (2, k, *shape)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(2, *shape))


def test_a_pixel_depends_on_the_pixels_within_the_radius():
    network, radius = _network(), SegmentationTrunk.radius
    size = 2 * radius + 5
    image = torch.rand(1, 2, size, size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    middle = size // 2
    network.trunk(image)[0, :, middle, middle].square().sum().backward()
    rows, columns = image.grad.abs().sum((0, 1)).nonzero().T
    for places in (rows, columns):
        assert places.min() == middle - radius
        assert places.max() == middle + radius


def test_weights_are_drawn_by_the_generator_with_variance_2_over_fan_in():
    before = torch.get_rng_state()
    first, again, other = _network(), _network(), _network(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.heads.weight, other.heads.weight)
    wide = SegmentationNetwork.start(2, 64, [4], torch.Generator().manual_seed(0))
    weight = wide.trunk[3].weight
    assert float(weight.detach().var()) == pytest.approx(2 / weight[0].numel(), rel=0.05)
    assert not wide.heads.bias.any()


@pytest.mark.parametrize("tile_size", [1, 7, 16, 100])
def test_tiles_have_no_seams(tile_size):
    network = SegmentationNetwork.start(2, 3, [4], torch.Generator().manual_seed(0)).double()
    images = torch.randn(2, 2, 37, 29, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        network(images)  # statistics that are not those of the start
        network.eval()
        expected = network.scores(images)[0]
        found = torch.full_like(expected, torch.nan)
        for (rows, columns), scores in predict_tiles(network, [*images], tile_size):
            found[:, :, rows, columns] = scores
        torch.testing.assert_close(found, expected)
