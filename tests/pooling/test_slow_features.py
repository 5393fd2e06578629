"""Slow features: the generalised eigenproblem, additive moments, degenerate data."""

import pickle

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.validation import check_is_fitted
from tolerance import assert_close

from sklinvariant import AutoPooling, SlowFeatures, load, save
from sklinvariant.pooling._slow_features import expand

GROUPS = np.repeat([0, 1, 2], [50, 80, 70])


@pytest.fixture
def frames(global_random_seed):
    """200 frames of 4 features: random walks of different speeds, mixed, in three clips."""
    rng = np.random.RandomState(global_random_seed)
    walks = rng.normal(size=(200, 4)).cumsum(0) * [0.1, 0.2, 0.3, 0.4] + rng.normal(size=(200, 4)) * [0, 0.1, 1, 2]
    walks = (walks - walks.mean(0)) / walks.std(0)
    return walks @ mixing(rng)


def mixing(rng):
    """A matrix (4, 4) of condition 4, so that products of the features are far from collinear."""
    return np.linalg.qr(rng.normal(size=(4, 4)))[0] * [1, 2, 3, 4]


def reference(X, groups, n_components):
    """Slow features by scipy, from all pairs at once."""
    follows = groups[1:] == groups[:-1]
    first, second = X[:-1][follows], X[1:][follows]
    both = np.concatenate([first, second])
    change = first - second
    slowness, vectors = eigh(change.T @ change / len(change), np.cov(both.T, bias=True))
    return (X - both.mean(0)) @ vectors[:, :n_components], slowness[:n_components]


def same_up_to_sign(actual, expected, **tolerance):
    assert_close(actual * np.sign((actual * expected).sum(0)), expected, **tolerance)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_generalised_eigenproblem(frames, degree):
    model = SlowFeatures(3, degree=degree).fit(frames, groups=GROUPS)
    expanded = PolynomialFeatures(degree, include_bias=False).fit_transform(frames)
    outputs, slowness = reference(expanded, GROUPS, 3)
    assert_close(model.slowness_, slowness, rtol=1e-6)
    same_up_to_sign(model.transform(frames), outputs, rtol=1e-5)
    units = (frames - model.center_) / model.scale_
    expanded = PolynomialFeatures(degree, include_bias=False).fit_transform(units)
    assert_close(model.transform(frames), (expanded - model.mean_) @ model.components_.T)


def test_the_order_of_monomials():
    rows = np.random.RandomState(0).normal(size=(5, 3))
    assert_close(expand(torch.as_tensor(rows), 2), PolynomialFeatures(2, include_bias=False).fit_transform(rows))


def test_outputs_are_standardised_and_sorted(frames):
    model = SlowFeatures(degree=2).fit(frames, groups=GROUPS)
    follows = GROUPS[1:] == GROUPS[:-1]
    z = model.transform(frames)
    both = np.concatenate([z[:-1][follows], z[1:][follows]])
    assert z.shape == (200, 14)
    assert_close(both.mean(0), np.zeros(14), atol=1e-6)
    assert_close(np.cov(both.T, bias=True), np.eye(14), atol=1e-6)
    assert_close(np.square(np.diff(z, axis=0)[follows]).mean(0), model.slowness_, rtol=1e-6)
    assert (np.diff(model.slowness_) >= 0).all()
    assert model.slowness_[-1] <= 4


def test_a_hidden_slow_source_is_found_by_products():
    """The example of Wiskott and Sejnowski, section 3: x₁ = sin t + cos² 11t, x₂ = cos 11t."""
    t = np.linspace(0, 2 * np.pi, 1000)
    X = np.stack([np.sin(t) + np.cos(11 * t) ** 2, np.cos(11 * t)], axis=1)
    found = {degree: SlowFeatures(1, degree=degree).fit_transform(X)[:, 0] for degree in (1, 2)}
    assert abs(np.corrcoef(found[2], np.sin(t))[0, 1]) > 0.9999
    assert abs(np.corrcoef(found[1], np.sin(t))[0, 1]) < 0.95


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("offset", [0, 100])
def test_parts_are_as_good_as_the_whole(frames, degree, offset):
    X = frames + offset
    whole = SlowFeatures(3, degree=degree).fit(X, groups=GROUPS)
    parts = SlowFeatures(3, degree=degree)
    for start, stop in [(0, 20), (20, 130), (130, 131), (131, 200)]:  # clips go on from one part to the next
        parts.partial_fit(X[start:stop], groups=GROUPS[start:stop])
    assert_close(parts.slowness_, whole.slowness_, rtol=1e-6)
    same_up_to_sign(parts.transform(X), whole.transform(X), rtol=1e-5)


@pytest.mark.parametrize("degree", [1, 2])
def test_affine_maps_of_the_features_change_nothing(frames, degree, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    mapped = frames @ mixing(rng) + 3 * rng.normal(size=4)
    models = [SlowFeatures(2, degree=degree).fit(X, groups=GROUPS) for X in (frames, mapped)]
    assert_close(models[1].slowness_, models[0].slowness_, rtol=1e-6)
    same_up_to_sign(models[1].transform(mapped), models[0].transform(frames), rtol=1e-5)


def test_pairs(frames):
    pairs = np.stack([frames[:-1], frames[1:]], axis=1)
    by_pairs, by_rows = SlowFeatures(2).fit(pairs), SlowFeatures(2).fit(frames)
    assert_close(by_pairs.slowness_, by_rows.slowness_, rtol=1e-6)
    z = by_pairs.transform(pairs)
    assert z.shape == (199, 2, 2)
    same_up_to_sign(z[:, 0], by_rows.transform(frames)[:-1], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e15])
def test_units_of_the_features(frames, scale):
    X = (frames * scale).astype(np.float32)
    model = SlowFeatures(2).fit(X, groups=GROUPS)
    expected = SlowFeatures(2).fit(frames, groups=GROUPS)
    assert model.components_.dtype == np.float32
    assert_close(model.slowness_, expected.slowness_, rtol=1e-3)
    same_up_to_sign(model.transform(X), expected.transform(frames), rtol=1e-2)


def test_features_that_depend_on_each_other(frames):
    X = np.concatenate([frames, frames[:, :1], np.full((200, 1), 0.1)], axis=1)  # a copy and a constant
    model = SlowFeatures().fit(X, groups=GROUPS)
    assert model.transform(X).shape == (200, 4)
    assert len(model.get_feature_names_out()) == 4
    assert_close(model.slowness_, SlowFeatures().fit(frames, groups=GROUPS).slowness_, rtol=1e-6)
    with pytest.warns(UserWarning, match="n_components=6, but only 4 principal directions have more than tol=1e-09"):
        SlowFeatures(6).fit(X, groups=GROUPS)


def test_constant_features():
    with pytest.warns(ConvergenceWarning, match="all features are constant"):
        model = SlowFeatures().fit(np.full((20, 3), 0.1))
    assert_close(model.transform(np.eye(3)), np.zeros((3, 1)))


def test_what_cannot_be_learned(frames):
    with pytest.raises(ValueError, match="n_components=5 is more than the 4 features that degree=1"):
        SlowFeatures(5).fit(frames)
    with pytest.raises(ValueError, match="no pair of consecutive frames"):
        SlowFeatures().fit(frames[:3], groups=[0, 1, 2])
    model = SlowFeatures(2).fit(frames)
    with pytest.raises(ValueError, match="degree=2 cannot continue a fit with degree=1"):
        model.set_params(degree=2).partial_fit(frames)
    assert_close(model.slowness_, SlowFeatures(2).fit(frames).slowness_)  # unharmed


def test_parameters_that_change_between_parts(frames):
    model = SlowFeatures(1).fit(frames)
    model.set_params(n_components=9)
    with pytest.raises(ValueError, match="n_components=9 is more than the 4 features"):
        model.partial_fit(frames[:1], groups=[7])  # no new pair
    assert model.set_params(n_components=3).partial_fit(frames[:1], groups=[7]).transform(frames).shape == (200, 3)
    assert_close(model.slowness_, SlowFeatures(3).fit(frames).slowness_)


@pytest.mark.parametrize("degree", [1, 2])
def test_copies_compute_the_same(frames, degree):
    model = SlowFeatures(2, degree=degree).fit(frames)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(frames), model.transform(frames))


@pytest.mark.parametrize(
    "change", [{"degree": 2}, {"mean": np.zeros(5), "components": np.zeros((2, 5))}, {"scale": np.zeros(4)}]
)
def test_files_that_do_not_fit_together(frames, change, tmp_path):
    model = SlowFeatures(2).fit(frames)
    model._state = {**model._state, **change}
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="Fit again"):
        load(tmp_path / "model")


def test_in_the_place_of_auto_pooling(frames):
    y = np.abs(frames)
    for pooling in (AutoPooling(2, random_state=0), SlowFeatures(2)):
        pipeline = make_pipeline(pooling)
        assert pipeline.fit(y).transform(y).shape == (200, 2)
        assert pooling.fit(y, groups=GROUPS).set_output(transform="pandas").transform(y).shape == (200, 2)
        with pytest.raises(ValueError, match="transformed pairs have shape"):
            pooling.transform(np.stack([y, y], 1))
        check_is_fitted(pooling)
