"""The weights of features that `NestedInvariancePooler` learns, compared with variances of plain arrays."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import nn

from sklinvariant import BagOfWords, ConvolutionalFeatures, NestedInvariancePooler, load, save, to_module
from sklinvariant.transforms import Rotation, Scale, warp

STAGES = [("scale", 3), ("rotation", (1, np.inf))]


@pytest.fixture
def orbits(global_random_seed):
    """Activations (9, 3, 4, 5), whose first feature differs between images and whose last differs between views."""
    rng = np.random.RandomState(global_random_seed)
    images, views = rng.rand(9, 1, 1, 5), rng.rand(9, 3, 4, 5)
    shares = np.linspace(1, 0, 5)
    return shares * images + (1 - shares) * views


@pytest.fixture
def images(global_random_seed):
    return np.random.RandomState(global_random_seed).rand(6, 13, 13, 3).astype(np.float32)


def pooler(stages=STAGES, **settings):
    return NestedInvariancePooler(**{"stages": stages, "feature_weights": "invariance", **settings})


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())


def share_between(views):
    """The share of the variance of views (n, m, d) that is between the n images."""
    return views.mean(1).var(0) / views.var((0, 1))


@pytest.mark.parametrize("batch_size", [2, 100])
def test_the_weight_is_the_share_of_the_variance_between_images(orbits, batch_size):
    model = pooler(batch_size=batch_size).fit(orbits)
    expected = share_between(orbits.reshape(9, 12, 5))
    assert_close(model.feature_weights_, np.tile(expected, 2), rtol=1e-5)  # for both orders
    assert model.feature_weights_[0] == pytest.approx(1)
    assert model.feature_weights_[4] < 0.5


@pytest.mark.parametrize("normalize", [False, True])
def test_pooled_features_are_multiplied_by_their_weights(orbits, normalize):
    model = pooler(normalize=normalize).fit(orbits)
    plain = pooler(feature_weights="equal", normalize=False).fit(orbits)
    expected = plain.transform(orbits) * model.feature_weights_
    assert plain.feature_weights_ is None
    assert_close(
        model.transform(orbits), expected / np.linalg.norm(expected, axis=1)[:, None] if normalize else expected
    )


@pytest.mark.parametrize(
    "stages",
    [
        [("translation", (1, np.inf)), ("scale", (2, np.inf)), ("rotation", 1)],
        [("translation", 2, "l2"), ("region", (1, 3)), ("rotation", 1, "l2"), ("scale", 1)],
    ],
)
def test_views_of_images(images, stages):
    """The features of a view are those of the stages of the map alone."""
    transforms = {"rotation": Rotation(n_steps=4), "scale": Scale(n_steps=2)}
    model = pooler(stages, backbone=network(), transforms=transforms, batch_size=5).fit(images)
    one_view = pooler(stages[:-2], backbone=network(), feature_weights="equal", normalize=False).fit(images)
    views = [
        one_view.transform(warp(np.rot90(images, turn, (1, 2)).copy(), scale[None]))
        for turn, scale in itertools.product(range(4), Scale(n_steps=2).matrix(Scale(n_steps=2).orbit()))
    ]
    expected = share_between(np.stack(views, 1).astype(float))
    copies = model.n_features_out_ // len(expected)
    assert_close(model.feature_weights_, np.tile(expected, copies), rtol=1e-3, atol=1e-4)


def test_cells_that_are_not_pooled_have_weights_of_their_own(images):
    convolution = network()[0]
    model = pooler([("rotation", 1)], backbone=convolution, transforms={"rotation": Rotation(n_steps=2)}).fit(images)
    views = torch.tensor(np.stack([images, images[:, ::-1, ::-1]], 1)).flatten(0, 1).permute(0, 3, 1, 2)
    maps = convolution(views).permute(0, 2, 3, 1).detach().double().numpy()
    assert_close(model.feature_weights_, share_between(maps.reshape(6, 2, -1)), rtol=1e-3)


def test_printed_moments_have_the_same_weights(images, orbits):
    transforms = {"rotation": Rotation(n_steps=4), "scale": Scale(n_steps=2)}
    settings = {"stages": [("translation", 2), *STAGES], "backbone": network(), "transforms": transforms}
    for X, some in ((images, settings), (orbits, {})):
        mean, printed = (pooler(moments=moments, **some).fit(X) for moments in ("mean", "printed"))
        assert_close(printed.feature_weights_, mean.feature_weights_)


def test_without_views_all_weights_are_1(orbits):
    assert_close(pooler([("translation", 2)]).fit(orbits[:, 0]).feature_weights_, np.ones(5), rtol=1e-4)


def test_a_constant_feature_has_the_weight_0(orbits):
    orbits[..., 2] = 0.7
    assert pooler().fit(orbits).feature_weights_[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("offset", [100.0, 1e5])
def test_a_large_mean_does_not_change_weights_in_double_precision(orbits, offset):
    expected = pooler().fit(orbits).feature_weights_
    assert_close(pooler().fit(orbits + offset).feature_weights_, expected, rtol=1e-3, atol=1e-3)


def test_cells_must_be_pooled_before_views(images):
    stages = [("scale", 1), ("translation", 2), ("rotation", np.inf)]
    model = pooler(stages, backbone=network())
    with pytest.raises(ValueError, match=r'"translation" and "region" before all others, .*\[\'scale\', \'translation'):
        model.fit(images)
    assert model.set_params(feature_weights="equal").fit(images).feature_weights_ is None


def test_other_stages_need_another_fit(orbits):
    model = pooler().fit(orbits).set_params(stages=[("scale", 3), ("rotation", 1)])
    with pytest.raises(ValueError, match=r"weights of 10 features, but the stages now give 5\. Fit again"):
        model.transform(orbits)


def test_a_model_without_weights_from_an_earlier_version(orbits):
    model = pooler(feature_weights="equal").fit(orbits)
    del model._state["feature_weights"]
    assert pickle.loads(pickle.dumps(model)).feature_weights_ is None


def test_what_varies_with_the_views_counts_less(global_random_seed):
    """Images are found again by features that the views do not change, although the others are larger."""
    rng = np.random.RandomState(global_random_seed)
    images = rng.rand(30, 1, 1, 6)

    def seen():
        return np.concatenate([images.repeat(8, 1), 3 * rng.rand(30, 8, 1, 6)], -1)

    def found(weights):
        model = pooler([("a", 1), ("b", 1)], feature_weights=weights).fit(seen())
        first, second = model.transform(seen()), model.transform(seen())
        return (first @ second.T).argmax(1) == np.arange(30)

    assert found("invariance").mean() > found("equal").mean()


def test_a_saved_model_and_a_module(images, tmp_path):
    backbone = ConvolutionalFeatures(BagOfWords(4, random_state=0), patch_size=3, random_state=0)
    stages, transforms = [("translation", 1), ("rotation", 1)], {"rotation": Rotation(n_steps=4)}
    model = pooler(stages, backbone=backbone, transforms=transforms).fit(images)
    expected = model.transform(images)
    save(model, tmp_path / "model")
    assert_close(load(tmp_path / "model").transform(images), expected)
    assert_close(to_module(model)(torch.from_numpy(images)).detach().numpy(), expected)


@pytest.mark.parametrize(
    ("n", "value", "message"),
    [(1, None, "at least 2 images that can be read, but got 1"), (4, 0.5, "those of all images are equal")],
)
def test_images_that_tell_nothing(orbits, n, value, message):
    X = orbits[:n] if value is None else np.full_like(orbits[:n], value)
    with pytest.raises(ValueError, match=message):
        pooler().fit(X)
