"""Predictions of a fitted segmenter: kinds and sizes of images, devices, files, and damaged state."""

import numpy as np
import pytest
import torch
from examples import saved_copies
from sklearn.base import clone
from tolerance import assert_close, assert_same_labels

from sklinvariant import load, save
from sklinvariant.cluster import IICSegmenter
from sklinvariant.datasets import make_textures

# two epochs on six small images seldom come far
pytestmark = pytest.mark.filterwarnings("ignore:IICSegmenter:sklearn.exceptions.ConvergenceWarning")

QUICK = {"n_clusters": 3, "half_window": 1, "width": 4, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def textures():
    return make_textures(6, image_size=24, n_textures=3, random_state=0)


def test_kinds_of_input(textures):
    images, _ = textures
    model = IICSegmenter(**QUICK, learning_rate=1e-8).fit(images)  # steps would make rounding errors grow
    labels, proba = model.predict(images), model.predict_proba(images)
    rows = clone(model).set_params(image_shape=(24, 24)).fit(images.reshape(6, -1))
    assert_same_labels(rows.predict(images.reshape(6, -1)), labels, proba, margin=0.03)
    assert_same_labels(model.predict(list(images)), labels, proba)
    of_tensor = model.predict(torch.from_numpy(images))
    assert isinstance(of_tensor, torch.Tensor)
    assert_same_labels(of_tensor, labels, proba)
    wide = clone(model).fit(images.astype(np.float64))
    assert wide.predict_proba(images.astype(np.float64)).dtype == np.float64


def test_images_of_different_sizes(textures):
    images, _ = textures
    different = [images[0], images[1][:20], images[2][:, :15]]
    model = IICSegmenter(**QUICK).fit(different)
    labels, proba = model.predict(different), model.predict_proba(different)
    for found, label, p in zip(model.labels_, labels, proba, strict=True):
        assert_same_labels(found, label, p)
    assert [label.shape for label in labels] == [(24, 24), (20, 24), (24, 15)]
    assert_same_labels(labels[1], model.predict(different[1:2])[0], model.predict_proba(different[1:2])[0])
    assert model.predict(np.zeros((1, 40, 50))).shape == (1, 40, 50)


def test_colour_images_and_whole_numbers():
    images = np.random.RandomState(0).randint(0, 256, (4, 12, 10, 3)).astype(np.uint8)
    whole = IICSegmenter(**QUICK).fit(images)
    floats = IICSegmenter(**QUICK).fit((images / 255).astype(np.float32))
    np.testing.assert_allclose(whole.predict_proba(images), floats.predict_proba(images), atol=1e-3)
    many = np.random.RandomState(0).rand(4, 12, 10, 5)
    assert IICSegmenter(**QUICK).fit(many).predict(many).shape == (4, 12, 10)


def test_same_on_the_device(textures, device):
    images = torch.from_numpy(textures[0]).to(device)
    model = IICSegmenter(**QUICK).fit(images)
    labels = model.predict(images)
    assert labels.device.type == device
    assert model.predict(textures[0]).shape == tuple(labels.shape)


def test_seed_clone_pickle_file(textures, tmp_path, global_random_seed):
    images, _ = textures
    torch.manual_seed(5)
    np.random.seed(5)
    model = IICSegmenter(**{**QUICK, "random_state": global_random_seed}).fit(images)
    expected = model.predict_proba(images)
    drawn = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    assert drawn == (torch.rand(1).item(), np.random.rand())
    for again in saved_copies(model, tmp_path / "model.safetensors"):
        np.testing.assert_array_equal(again.predict_proba(images), expected)
    assert_close(clone(model).fit(images).predict_proba(images), expected, rtol=0.05)
    other = clone(model).set_params(random_state=global_random_seed + 1).fit(images)
    assert not np.allclose(other.predict_proba(images), expected, atol=0.01)


@pytest.mark.parametrize("shape", [(1, 24, 24), (3, 4, 5), (2, 1, 1), (1, 1, 9), (2, 12, 12, 2)])
def test_few_and_small_images(shape):
    """One image, images smaller than the window and than what a pixel sees, and of two channels."""
    images = np.random.RandomState(0).rand(*shape)
    model = IICSegmenter(2, half_window=6, max_epochs=2, random_state=0).fit(images)
    proba = model.predict_proba(images)
    assert proba.shape == (*shape[:3], 2)
    assert np.isfinite(proba).all()
    assert np.isfinite(model.mutual_information_).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": [3, 3]}, r"heads of \[3, 3\] clusters do not match the weights"),
        ({"best_head": 6}, "heads of .* clusters do not match the weights"),
        ({"mixture": {"low": 2.0}}, "empty range of colours, 2.0 to "),
        ({"mixture": {"layout": True}}, "a mixture of shape .* does not match the heads and channels"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(textures, tmp_path, change, message):
    model = IICSegmenter(**QUICK, init="mixture").fit(textures[0])
    if "mixture" in change:
        change = {"mixture": {**model._state["mixture"], "layout": False, **change["mixture"]}}
    model._state |= change
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "model")
