"""IICSegmenter: what views and tiles do, quality on textures, seeds, files, sizes, bad input."""

import copy
import itertools

import numpy as np
import pytest
import torch
from examples import saved_copies
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close, assert_same_labels

from sklinvariant.cluster import IICSegmenter
from sklinvariant.cluster._segmentation import _pixel_mixture
from sklinvariant.cluster._segmentation._dense_mutual_information import dense_information
from sklinvariant.datasets import make_textures
from sklinvariant.metrics import clustering_accuracy
from sklinvariant.transforms import Flip, Rotation, Sobel

# two epochs on six small images seldom come far
pytestmark = pytest.mark.filterwarnings("ignore:IICSegmenter:sklearn.exceptions.ConvergenceWarning")

QUICK = {"n_clusters": 3, "half_window": 1, "width": 4, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def textures():
    return make_textures(6, image_size=24, n_textures=3, random_state=0)


def test_shapes_and_probabilities(textures):
    images, _ = textures
    model = IICSegmenter(**QUICK).fit(images)
    proba = model.predict_proba(images)
    assert proba.shape == (6, 24, 24, 3)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(-1), 1, atol=1e-5)
    assert_same_labels(model.predict(images), proba.argmax(-1), proba)
    assert len(model.history_) == model.n_iter_ == 2
    assert_same_labels(model.labels_, proba.argmax(-1), proba)
    assert model.labels_.dtype == np.int32


@pytest.mark.parametrize(
    "params", [{"average": "joint"}, {"n_overclusters": 0}, {"n_overclusters": 7}, {"tile_size": 10}]
)
def test_the_loss_falls(params, textures):
    model = IICSegmenter(**{**QUICK, "max_epochs": 15, "learning_rate": 0.02, **params}).fit(textures[0])
    assert model.history_[-1]["loss"] < model.history_[0]["loss"] - 0.01


def test_heads(textures):
    """The best is that of least loss, and it predicts; the numbers are those of predictions on crops as in training."""
    images, _ = textures
    model = IICSegmenter(**{**QUICK, "max_epochs": 12, "n_heads": 4, "tile_size": 100}).fit(images)
    ratio = model.mutual_information_ratio_
    assert ratio.shape == (4,)
    assert len(set(ratio.tolist())) == 4
    np.testing.assert_allclose(ratio, model.mutual_information_ / np.log(3))
    assert 0 < ratio.max() < 1
    state = {**model._state}
    answers = []
    for head in range(4):
        model._state = {**state, "best_head": head}
        answers.append(model.predict_proba(images))
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.combinations(answers, 2))
    model._state = state
    np.testing.assert_array_equal(model.predict_proba(images), answers[model.best_head_])
    # information of what is predicted for images and their mirror images, displaced by at most a pixel, and λ = 1.5
    mirrored = clone(model).set_params(transforms=Flip(), entropy_weight=1.0).fit(images)
    proba = torch.from_numpy(mirrored.predict_proba(images)).permute(0, 3, 1, 2)
    same = dense_information(proba, proba, 1).item()
    assert mirrored.mutual_information_[mirrored.best_head_] == pytest.approx(same, rel=0.3)
    assert mirrored.mutual_information_[mirrored.best_head_] == pytest.approx(mirrored.mutual_information_.max())


def test_looking_at_the_model_changes_nothing(textures):
    images, _ = textures
    model = IICSegmenter(**QUICK).fit(images)
    seen = []

    class Look:
        max_propagation_depth = 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
            seen.append(fitted_estimator.best_head_)

    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    watched = clone(model).set_callbacks(Look()).fit(images)
    assert len(seen) == 3
    assert_close(watched.predict_proba(images), model.predict_proba(images), rtol=0.05)


def test_going_on(textures):
    images, _ = textures
    model = IICSegmenter(**{**QUICK, "max_epochs": 20}, entropy_weight=1.0, warm_start=True).fit(images)
    before, losses = model.predict_proba(images), [row["loss"] for row in model.history_]
    model.set_params(max_epochs=2).fit(images[:, :20])
    assert [row["epoch"] for row in model.history_] == list(range(1, 23))
    assert model.n_iter_ == 22
    assert model.history_[20]["loss"] < np.mean([losses[0], losses[-1]])
    assert not np.allclose(model.predict_proba(images), before, atol=1e-3)
    for params in ({"n_clusters": 4}, {"n_heads": 2}, {"n_overclusters": 5}, {"width": 5}):
        with pytest.raises(ValueError, match="Set these parameters back"):
            copy.copy(model).set_params(**params).fit(images)


def test_parts(textures):
    """Parts of the images one after the other learn, with the scale of the first."""
    images, _ = textures
    model = IICSegmenter(**{**QUICK, "max_epochs": 1})
    model.partial_fit(images[:3])
    losses = [model.partial_fit(part).history_[-1]["loss"] for _ in range(8) for part in (images[:3], images[3:] / 2)]
    assert len(model.history_) == 17
    assert losses[-1] < losses[0] - 0.01
    assert model._state["shift"].item() == pytest.approx(images[:3].mean(), abs=1e-6)
    once = clone(model).partial_fit(images)
    again = clone(model).fit(images)
    assert_close(once._state["shift"], again._state["shift"])


@pytest.fixture(scope="module")
def discs():
    """Colour images of a bright disc on a dark ground, 1 pixel in 6, and the classes."""
    rng = np.random.RandomState(0)
    rows, columns = np.mgrid[:24, :24]
    masks = np.stack([(rows - a) ** 2 + (columns - b) ** 2 < 30 for a, b in rng.randint(6, 18, (10, 2))]).astype(int)
    images = np.where(masks[..., None], (0.5, 0.3, 0.2), (0.2, 0.2, 0.3)) * rng.uniform(0.8, 1.2, (10, 24, 24, 1))
    return images.astype(np.float32), masks


def test_heads_start_from_the_colours(discs, tmp_path):
    """Where colours tell the classes apart the result is almost that of a mixture, also for unequal sizes."""
    images, masks = discs
    model = IICSegmenter(2, half_window=1, width=4, random_state=0).fit(images)
    assert model.init_ == "mixture"
    assert model.n_iter_ == 10  # 30 steps of 4 images
    assert clustering_accuracy(masks, model.predict(images)) > 0.97
    expected = model.predict_proba(images)
    for again in saved_copies(model, tmp_path / "model.safetensors"):
        np.testing.assert_array_equal(again.predict_proba(images), expected)
        assert again.init_ == "mixture"
    tiled = clone(model).set_params(tile_size=9, max_epochs=2, transforms=Rotation(20)).fit(list(images))
    assert clustering_accuracy(masks, tiled.predict(images)) > 0.9
    tensors = model.predict_proba(torch.from_numpy(images))
    assert_close(tensors.numpy(), expected, rtol=1e-4)


def test_heads_are_random_for_textures(textures):
    """``init="auto"`` is the initialisation of the paper if the grey values of neighbours are unrelated."""
    model = IICSegmenter(**{**QUICK, "n_heads": 1}).fit(textures[0])
    assert model.init_ == "random"
    assert not hasattr(clone(model), "init_")
    same = clone(model).set_params(init="random").fit(textures[0])
    assert_close(same.predict_proba(textures[0]), model.predict_proba(textures[0]), rtol=0.05)
    mixed = clone(model).set_params(init="mixture").fit(textures[0])
    assert mixed.init_ == "mixture"
    del model._state["mixture"]  # as in files of earlier versions
    assert model.init_ == "random"


def test_the_start_is_kept_by_later_fits(discs):
    images, masks = discs
    model = IICSegmenter(2, half_window=1, width=4, warm_start=True, random_state=0).fit(images)
    mixture = model._state["mixture"]
    model.fit(images[:5])
    model.partial_fit(images[5:])
    np.testing.assert_array_equal(model._state["mixture"]["form"], mixture["form"])
    assert model.set_params(init="random").init_ == "mixture"
    assert clustering_accuracy(masks, model.predict(images)) > 0.97


def test_an_epoch_evaluates_the_mixture_on_the_crops_only(discs, monkeypatch):
    images, _ = discs
    settings = {"half_window": 1, "width": 4, "tile_size": 8, "max_epochs": 1, "random_state": 0}
    model = IICSegmenter(2, **settings).fit(images)
    seen = []
    features = _pixel_mixture.pixel_features

    def counted(*args, **kwargs):
        answer = features(*args, **kwargs)
        seen.append(answer[0].numel())
        return answer

    monkeypatch.setattr(_pixel_mixture, "pixel_features", counted)
    model.partial_fit(images)
    # crops cover as many pixels as the images, in training and at its end; labels_ are those of the images
    assert sum(seen) == 3 * images[..., 0].size


def test_mixture_is_added_in_strips(discs, monkeypatch):
    images, _ = discs
    model = IICSegmenter(2, half_window=1, width=4, max_epochs=1, random_state=0).fit(images)
    expected = model.predict_proba(images)
    monkeypatch.setattr(_pixel_mixture, "_STRIP_BYTES", 1)
    assert_close(model.predict_proba(images), expected, rtol=1e-5)


@pytest.mark.parametrize("outlier", [1e4, -1e4])
def test_an_outlier_does_not_disable_the_mixture(discs, outlier):
    images, masks = discs
    images = images.copy()
    images[0, 0, 0] = outlier
    model = IICSegmenter(2, half_window=1, width=4, random_state=0).fit(images)
    assert model._state["mixture"] is not None
    assert clustering_accuracy(masks, model.predict(images)) > 0.97


def test_stops_when_nothing_improves(textures):
    model = IICSegmenter(**{**QUICK, "max_epochs": 30}, tol=1e9, n_iter_no_change=3).fit(textures[0])
    assert model.n_iter_ == 4  # the first epoch is better than none


@pytest.mark.filterwarnings("error")
def test_warnings(textures):
    images, _ = textures
    with pytest.warns(ConvergenceWarning, match="never left the uniform"):
        IICSegmenter(**QUICK).fit(np.full((3, 12, 12), 0.5))
    with pytest.warns(ConvergenceWarning, match="so the clusters of neighbouring pixels are almost unrelated"):
        IICSegmenter(**QUICK, init="mixture").fit(np.random.RandomState(0).rand(3, 12, 12))
    flat = np.zeros((4, 16, 16))
    flat[:, :, 8:] = 1  # an edge has not seven kinds of neighbourhoods
    with pytest.warns(ConvergenceWarning, match=r"of 7 clusters are empty"):
        IICSegmenter(7, half_window=0, entropy_weight=0.9, transforms=Flip(), random_state=0).fit(flat)
    one = IICSegmenter(1, half_window=1, width=4, max_epochs=2, random_state=0).fit(images)
    assert (one.predict(images) == 0).all()
    assert (one.mutual_information_ratio_ == 0).all()


def test_constant_images_are_one_cluster_or_at_least_finite():
    images = np.full((3, 12, 12), 0.5)
    proba = IICSegmenter(**QUICK).fit(images).predict_proba(images)
    assert np.isfinite(proba).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 0}, "n_clusters"),
        ({"half_window": -1}, "half_window"),
        ({"average": "none"}, "average"),
        ({"init": "kmeans"}, "init"),
        ({"max_epochs": "many"}, "max_epochs"),
        ({"transforms": "flip"}, "transforms"),
        ({"tile_size": 0}, "tile_size"),
        ({"transforms": Sobel()}, "transforms must keep"),
        ({"n_heads": 0}, "n_heads"),
        ({"tol": -1.0}, "tol"),
        ({"warm_start": "yes"}, "warm_start"),
    ],
)
def test_bad_parameters(params, message, textures):
    with pytest.raises(ValueError, match=message):
        IICSegmenter(**{**QUICK, **params}).fit(textures[0])


def test_bad_images(textures):
    images, _ = textures
    model = IICSegmenter(**QUICK).fit(images)
    before = model.predict(images)
    broken = images.copy()
    broken[2, 3, 3] = np.nan
    with pytest.raises(ValueError, match="image 2 contains NaN"):
        model.fit(broken)
    with pytest.raises(ValueError, match="image 1 has 3 channel"):
        model.fit([images[0], np.zeros((8, 8, 3))])
    with pytest.raises(ValueError, match="was fitted on images of 1"):
        model.predict(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="image_shape"):
        clone(model).set_params(image_shape=(5, 5)).fit(images.reshape(6, -1))
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(np.zeros((0, 8, 8)))
    np.testing.assert_array_equal(model.predict(images), before)  # a fit that fails leaves the model


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_textures_are_told_apart_where_kmeans_on_pixels_cannot(global_random_seed):
    images, masks = make_textures(16, image_size=64, n_textures=4, random_state=0)
    pixels = KMeans(4, n_init=3, random_state=0).fit_predict(images.reshape(-1, 1)).reshape(masks.shape)
    assert clustering_accuracy(masks, pixels) < 0.35
    model = IICSegmenter(4, random_state=global_random_seed).fit(images)
    unseen, truth = make_textures(8, image_size=64, n_textures=4, random_state=1)
    assert clustering_accuracy(truth, model.predict(unseen)) > 0.88
    assert model.mutual_information_ratio_[model.best_head_] > 0.6


@pytest.mark.slow
def test_textures_with_related_grey_values(global_random_seed):
    """Fine checks, coarse checks and noise: the mixture of grey values is a poor start, and is not chosen."""
    rng = np.random.RandomState(0)
    y, x = np.mgrid[:64, :64]
    masks = np.stack([(x + rng.randint(64)) // 32 % 2 + (y + rng.randint(64)) // 32 % 2 for _ in range(12)])
    parts = [np.where((y // 2 + x // 2) % 2, 60, 200), np.where((y // 6 + x // 6) % 2, 60, 200)]
    images = np.stack([np.choose(mask, [*parts, rng.randint(256, size=(64, 64))]) for mask in masks]).astype(np.uint8)
    model = IICSegmenter(3, random_state=global_random_seed).fit(images)
    assert model.init_ == "random"
    accuracy = clustering_accuracy(masks, model.labels_)
    assert accuracy > 0.75
    model.set_params(init="mixture").fit(images)
    assert clustering_accuracy(masks, model.labels_) < accuracy - 0.1


class Mirror(torch.nn.Module):
    """Like a transformation of torchvision."""

    def forward(self, images):
        return images.flip(-1)


@pytest.mark.parametrize("transform", [Mirror(), lambda images, generator: images])
def test_transformations_without_an_inverse_are_refused(textures, transform):
    with pytest.raises(ValueError, match=r"transforms=.* cannot be inverted, but .* Pass a Transform of sklinvariant"):
        IICSegmenter(**QUICK, transforms=transform).fit(textures[0])
