"""Transformations of torchvision and kornia: images with channels last, a draw for each image, and the seed."""

import numpy as np
import pytest
import torch
from torch import nn

from sklinvariant import IICClusterer
from sklinvariant.transforms import Flip
from sklinvariant.transforms._library_transforms import apply_library, library_of


@pytest.fixture
def images():
    return torch.rand(20, 6, 8, 3, generator=torch.Generator().manual_seed(0))


class Mirror(nn.Module):
    """A stand-in: mirrors the images that it gets with probability 1/2, all or none."""

    def forward(self, x):
        assert x.shape[-3:] == (3, 6, 8)
        return x.flip(-1) if torch.rand(()) < 0.5 else x


Mirror.__module__ = "torchvision.transforms.v2"


def generator(seed):
    return torch.Generator().manual_seed(seed)


def mirrored(images, seen):
    """Whether each image is mirrored; others must be unchanged."""
    flipped = (seen == images.flip(2)).flatten(1).all(1)
    assert (flipped | (seen == images).flatten(1).all(1)).all()
    return flipped


def test_each_image_is_transformed_by_itself(images):
    flipped = mirrored(images, apply_library(Mirror(), images, generator(0)))
    assert 0 < flipped.sum() < len(images)


def test_the_generator_is_the_seed(images):
    before = torch.get_rng_state()
    first = apply_library(Mirror(), images, generator(0))
    torch.rand(3)
    assert torch.equal(apply_library(Mirror(), images, generator(0)), first)
    assert not torch.equal(apply_library(Mirror(), images, generator(1)), first)
    torch.set_rng_state(before)
    apply_library(Mirror(), images, generator(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_own_transforms_are_of_no_library():
    assert library_of(Flip()) is None
    assert library_of(nn.Sequential(nn.Identity())) is None
    assert library_of(nn.Sequential(nn.Identity(), Mirror())) == "torchvision"


def test_rows_are_refused():
    with pytest.raises(ValueError, match=r"transforms=Mirror transforms images, but the samples have shape \(5,\)"):
        apply_library(Mirror(), torch.zeros(2, 5), generator(0))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_clusterer_takes_them(images):
    X = images.numpy()
    model = IICClusterer(2, pairs="transform", transforms=Mirror(), max_epochs=2, random_state=0)
    labels = model.fit_predict(X)
    np.testing.assert_array_equal(model.fit_predict(X), labels)


def test_transforms_of_torchvision(images):
    v2 = pytest.importorskip(
        "torchvision.transforms.v2", reason="torchvision is not installed, or not for this torch", exc_type=Exception
    )
    flipped = mirrored(images, apply_library(v2.RandomHorizontalFlip(), images, generator(0)))
    assert 0 < flipped.sum() < len(images)
    several = v2.Compose([v2.RandomResizedCrop((6, 8)), v2.ColorJitter(0.4, 0.4, 0.4, 0.1)])
    seen = apply_library(several, images, generator(0))
    assert seen.shape == images.shape
    assert torch.equal(apply_library(several, images, generator(0)), seen)


@pytest.mark.filterwarnings("ignore")
def test_transforms_of_kornia(images):
    augmentation = pytest.importorskip("kornia.augmentation", reason="kornia is not installed", exc_type=Exception)
    flipped = mirrored(images, apply_library(augmentation.RandomHorizontalFlip(), images, generator(0)))
    assert 0 < flipped.sum() < len(images)
    several = nn.Sequential(augmentation.RandomAffine(10.0), augmentation.ColorJiggle(0.1, 0.1, 0.1, 0.1))
    seen = apply_library(several, images, generator(0))
    assert torch.equal(apply_library(several, images, generator(0)), seen)
