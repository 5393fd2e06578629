"""Preprocessing that comes with a backbone, and how parameters replace it."""

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import nn

import sklinvariant
from sklinvariant import BackbonePatches
from sklinvariant.feature_extraction._backbones import _backbone_estimator
from sklinvariant.feature_extraction._backbones._make_backbone import LIBRARIES, Backbone, FileBackbone


class WithPreprocessing(Backbone):
    is_named = True
    mean, std, bgr, image_size = [0.1, 0.2, 0.3], [1.0, 2.0, 4.0], True, (4, 6)


@pytest.fixture
def named(monkeypatch):
    def make(module, **settings):
        return WithPreprocessing(nn.Identity())

    monkeypatch.setattr(_backbone_estimator, "make_backbone", make)


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(2, 4, 6, 3).astype(np.float32)


def test_auto_is_the_preprocessing_of_the_backbone(named, images):
    cells = BackbonePatches("a name").fit_transform(images)
    expected = (images[..., ::-1] - np.array([0.1, 0.2, 0.3])) / [1, 2, 4]
    np.testing.assert_allclose(cells.values, expected.reshape(-1, 3), atol=1e-6)
    assert BackbonePatches("a name").fit_transform(np.zeros((1, 9, 9, 3))).shape == (1, 24, 3)


def test_parameters_replace_what_comes_with_the_backbone(named, images):
    plain = {"mean": 0, "std": 1, "bgr": False, "image_size": None}
    assert_close(BackbonePatches("a name", **plain).fit_transform(images).values, images.reshape(-1, 3))
    assert BackbonePatches("a name", image_size=5).fit_transform(images).shape == (2, 25, 3)


def test_preprocessing_is_saved(named, images, tmp_path):
    model = BackbonePatches("a name").fit(images)
    sklinvariant.save(model, tmp_path / "model")
    assert sklinvariant.load(tmp_path / "model").transform(images) == model.transform(images)


def test_modules_have_no_preprocessing(images):
    assert_close(BackbonePatches(nn.Identity()).fit_transform(images).values, images.reshape(-1, 3))


def test_models_of_earlier_versions(images):
    """Their state has no preprocessing, and their parameters are numbers."""
    model = BackbonePatches(nn.Identity(), mean=0.5, std=2.0, bgr=False, image_size=None).fit(images)
    expected = model.transform(images)
    del model._state["preprocessing"], model._state["architecture"]
    assert model.transform(images) == expected


def test_images_of_different_sizes_need_a_size(images):
    different = [images[0], images[1, :3]]
    bags = BackbonePatches(nn.Identity(), image_size=4).fit_transform(different)
    assert bags.shape == (2, 16, 3)
    with pytest.raises(ValueError, match="the images differ in size"):
        BackbonePatches(nn.Identity()).fit(different).transform(different)


def test_other_words_are_refused(images):
    for name in ("mean", "std", "bgr", "image_size"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of BackbonePatches"):
            BackbonePatches(nn.Identity(), **{name: "automatic"}).fit(images)


@pytest.mark.parametrize("convert", [np.asarray, list, torch.as_tensor])
@pytest.mark.parametrize("scale", [255, -3])
def test_floats_on_another_scale_than_that_of_the_backbone(named, images, convert, scale):
    X = convert(images * np.float32(scale))
    with pytest.warns(UserWarning, match="BackbonePatches: .* floats from .*'a name' was trained on") as seen:
        BackbonePatches("a name").fit(X).transform(X)
    assert len(seen) == 1
    assert len(BackbonePatches("a name", mean=0.5 * scale, std=abs(scale)).fit_transform(X)) == 2  # no warning
    assert len(BackbonePatches("a name").fit_transform(images * 1.2)) == 2


def test_modules_take_floats_on_any_scale(images):
    assert len(BackbonePatches(nn.Identity()).fit_transform(images * 255)) == 2


@pytest.mark.parametrize("library", LIBRARIES.values())
def test_the_models_of_all_libraries_are_named(library):
    assert library.is_named
    assert not FileBackbone(nn.Identity()).is_named


def test_grey_images_for_networks_of_three_channels(images):
    grey = images[..., 0]
    network = nn.Conv2d(3, 2, 1)
    colour = np.stack([grey] * 3, axis=-1)
    assert_close(
        BackbonePatches(network).fit_transform(torch.as_tensor(grey)).values.numpy(),
        BackbonePatches(network).fit_transform(colour).values,
    )
