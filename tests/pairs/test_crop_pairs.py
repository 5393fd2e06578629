"""Crops of images and their views, which are transformed back to the position of the crop."""

import numpy as np
import pytest
import torch

from sklinvariant.ops import resample
from sklinvariant.pairs._crop_pairs import CropPairs
from sklinvariant.transforms import ColorJitter, Compose, Flip, Rotation, Translation

# two epochs on six small images seldom come far
pytestmark = pytest.mark.filterwarnings("ignore:IICSegmenter:sklearn.exceptions.ConvergenceWarning")


def _pairs(images, transform, tile_size=64, batch_size=3):
    generator = torch.Generator().manual_seed(0)
    images = [torch.tensor(image)[None] for image in images]
    return CropPairs(images, transform, tile_size=tile_size, batch_size=batch_size, generator=generator)


@pytest.mark.parametrize(
    "transform",
    [
        Flip("both"),
        Compose([Flip(), ColorJitter(0, 0, 0, 0), Compose([Rotation(n_steps=4), Flip()])]),
        Rotation(20),
        Compose([Translation(0.2)]),
    ],
)
def test_views_are_taken_back(transform):
    """Pixels that stay inside the image return to their position; others have weight 0."""
    ramp = np.add.outer(np.arange(16.0), 2 * np.arange(16.0)) / 48 + 0.1
    for pair, _ in _pairs([ramp] * 3, transform):
        again = resample(pair.views, pair.back)
        weight = resample(torch.ones_like(pair.views), pair.back)
        middle = (slice(None), slice(None), slice(6, 10), slice(6, 10))
        inside = weight[middle] > 0.999
        torch.testing.assert_close(again[middle][inside], pair.images[middle][inside], atol=0.02, rtol=0)
        assert inside.any()
    if isinstance(transform, Compose) and isinstance(transform.transforms[0], Translation):
        assert (weight == 0).any()


def test_crops_of_images_of_different_sizes():
    images = [np.full((10, 30), 0.1), np.full((7, 5), 0.2)]
    batches = _pairs(images, Flip(), tile_size=12, batch_size=2)
    assert len(batches) == 3 + 1  # the first takes three tiles
    seen = 0
    for pair, _ in batches:
        assert pair.images.shape[1:] == (1, 10, 12)
        for image, mask in zip(pair.images, pair.masks, strict=True):
            small = image[0, 0, 0] == 0.2
            assert (image == image[0, 0, 0]).all()
            assert mask.sum() == (35 if small else 120)
            assert not small or mask[0, :7, :5].all()
        seen += len(pair)
    assert seen == 4


def test_start_is_evaluated_in_the_window_of_the_crop():
    """Maps that are the image itself remain equal to its crops, also where they are padded."""
    images = [torch.rand(1, *size, generator=torch.Generator().manual_seed(1)) for size in ((10, 30), (7, 5))]
    start = [lambda rows, columns, image=image: image[:, rows, columns] for image in images]
    generator = torch.Generator().manual_seed(0)
    for pair, _ in CropPairs(images, Flip(), tile_size=12, batch_size=2, generator=generator, start=start):
        torch.testing.assert_close(pair.start, pair.images)
