"""The scale of pixels: integers 0-255 are divided by 255, floats are not changed."""

import copy

import numpy as np
import pytest
import torch
from examples import TAKE_IMAGES, answer_to_images, image_example
from sklearn.base import clone
from tolerance import assert_close

import sklinvariant
from sklinvariant.cluster import IICClassifier, IICClusterer, IICSegmenter
from sklinvariant.feature_extraction import BackbonePatches, DensePatches
from sklinvariant.pooling import NestedInvariancePooler

pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")
# LocalDescriptors takes floats 0-1 and no others, whatever it was fitted on
TAKE_FLOATS = sorted(set(TAKE_IMAGES) - {"LocalDescriptors"})


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_whole_numbers_are_0_to_255_and_floats_are_0_to_1(name):
    estimator, pixels = image_example(name, dtype=np.uint8)
    expected = answer_to_images(estimator.fit(pixels), pixels)
    for same in (pixels.astype(np.int64), pixels.astype(np.uint16), list(pixels), pixels.tolist()):
        assert_close(answer_to_images(estimator, same), expected)
    if name != "LocalDescriptors":  # SIFT rounds to whole numbers
        assert_close(answer_to_images(estimator, pixels / np.float32(255)), expected, rtol=1e-3)


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_rows_of_images_follow_the_rule(name):
    estimator, pixels = image_example(name, dtype=np.uint8)
    if name == "NestedInvariancePooler":
        estimator.set_params(stages=[("translation", 1)])
    estimator.set_params(image_shape=(12, 12))
    rows = pixels.reshape(6, -1)
    expected = answer_to_images(estimator.fit(rows), rows)
    for same in (rows.astype(np.int64), torch.as_tensor(rows), torch.as_tensor(rows.astype(np.int32))):
        assert_close(answer_to_images(estimator, same), expected)
    with pytest.raises(ValueError, match=r"has floats from|must be 0-1"):
        answer_to_images(estimator, rows.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_rows_without_image_shape_are_features_of_any_dtype(dtype, kind):
    rows = np.random.RandomState(0).randint(100, size=(9, 6))
    X = kind(rows.astype(dtype))
    bags = DensePatches(1, stride=1).fit_transform(X)
    assert_close(bags.values, rows.reshape(-1, 1).astype(np.float32))
    model = IICClusterer(2, n_heads=1, max_epochs=1, random_state=0).fit(X)
    assert not hasattr(model, "pixel_range_")
    assert_close(model.predict_proba(X), model.predict_proba(rows.astype(np.float32)))


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_floats_0_to_255_are_refused_after_a_fit_of_pixels(name):
    estimator, pixels = image_example(name, dtype=np.uint8)
    estimator.fit(pixels)
    wrong = pixels.astype(np.float32)
    for X in (wrong, torch.as_tensor(wrong), list(wrong), wrong.astype(np.float64), -wrong):
        with pytest.raises(ValueError, match=r"image 0 has floats from"):
            answer_to_images(estimator, X)


@pytest.mark.parametrize("name", TAKE_FLOATS)
def test_whole_numbers_are_refused_after_a_fit_of_floats_0_to_255(name):
    estimator, pixels = image_example(name, dtype=np.uint8)
    estimator.fit(pixels.astype(np.float32))
    answer_to_images(estimator, pixels.astype(np.float32)[:3])
    with pytest.raises(ValueError, match=r"integers 0-255, which are scaled to 0-1, but .* was fitted on floats"):
        answer_to_images(estimator, pixels)


@pytest.mark.parametrize("name", TAKE_FLOATS)
def test_brighter_darker_and_standardised_images_are_fine(name):
    estimator, pixels = image_example(name, dtype=np.uint8)
    images = pixels / np.float32(255)
    estimator.fit(images * 0.01)
    for other in (images, images * 3, (images - images.mean()) / images.std()):
        assert np.isfinite(answer_to_images(estimator, other)).all()


def test_the_first_image_on_another_scale_is_named():
    images = np.random.RandomState(0).rand(5, 6, 6)
    model = DensePatches(2).fit(images)
    images[3] *= 255
    with pytest.raises(ValueError, match=r"image 3 has floats .* fitted on images from 0 to 1\. Rescale the floats"):
        model.transform(images)


def test_the_classifier_refuses_as_its_clusterer_does():
    pixels = np.random.RandomState(0).randint(256, size=(40, 6, 6)).astype(np.uint8)
    clusterer = IICClusterer(2, n_heads=1, max_epochs=1, random_state=0)
    model = IICClassifier(clusterer, max_epochs=1, random_state=0).fit(pixels, np.arange(40) % 2)
    assert len(model.predict(pixels)) == 40
    with pytest.raises(ValueError, match="has floats from"):
        model.predict(pixels.astype(float))


def test_parts_and_going_on_are_of_one_scale():
    pixels = np.random.RandomState(0).randint(256, size=(6, 8, 8)).astype(np.uint8)
    model = IICSegmenter(2, half_window=1, width=2, max_epochs=1, n_heads=1, warm_start=True, random_state=0)
    model.fit(pixels)
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="has floats from"):
            method(pixels.astype(float))
    clone(model).fit(pixels.astype(float))


def test_every_batch_of_a_pooler_is_checked():
    images = np.random.RandomState(0).rand(5, 9, 9, 3)
    pooler = NestedInvariancePooler(torch.nn.Conv2d(3, 2, 3), stages=[("translation", 1)], batch_size=2).fit(images)
    images[4] *= 255
    with pytest.raises(ValueError, match="has floats from"):
        pooler.transform(images)


def test_the_range_is_kept_and_old_models_have_none(tmp_path):
    pixels = np.random.RandomState(0).randint(256, size=(6, 8, 8)).astype(np.uint8)
    model = IICSegmenter(2, half_window=1, width=2, max_epochs=1, n_heads=1, random_state=0).fit(pixels)
    sklinvariant.save(model, tmp_path / "model")
    for again in (sklinvariant.load(tmp_path / "model"), copy.deepcopy(model)):
        assert again.pixel_range_ == [0.0, 1.0]
        with pytest.raises(ValueError, match="has floats from"):
            again.predict(pixels.astype(float))
    del model.pixel_range_  # as models that an earlier version saved
    assert model.predict(pixels.astype(float)).shape == (6, 8, 8)


def test_a_failed_fit_keeps_the_range():
    images = np.random.RandomState(0).rand(4, 6, 6)
    model = BackbonePatches(torch.nn.Conv2d(1, 2, 3)).fit(images * 100)
    before = model.pixel_range_
    with pytest.raises(ValueError, match="does not accept images of shape"):
        model.fit(np.zeros((4, 2, 2)))
    assert model.pixel_range_ == before
