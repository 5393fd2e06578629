"""Fitted states with inconsistent entries are refused."""

import copy

import numpy as np
import pytest
import torch
from examples import example, with_state

import sklinvariant
from sklinvariant.aggregation import VLAD, BagOfWords, LearnedAggregation
from sklinvariant.base._state_layout import layout_of
from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.feature_extraction import BackboneFeatures
from sklinvariant.hashing import LSHHasher


@pytest.fixture(scope="module")
def words():
    return BagOfWords(3, random_state=0).fit(np.random.RandomState(0).normal(size=(5, 8, 4)))


@pytest.mark.parametrize(
    "changes",
    [
        {"codebook": np.zeros((3, 5))},
        {"codebook": np.zeros(3)},
        {"codebook": np.zeros((3, 4), np.int64)},
        {"codebook": [1.0]},
        {"gamma": "much"},
        {"gamma": float("nan")},
        {"shift": np.zeros(5)},
        {"n_descriptor_features": 10**30},
        {"n_descriptor_features": True},
    ],
    ids=repr,
)
def test_states_that_do_not_fit(tmp_path, words, changes):
    sklinvariant.save(with_state(words, **changes), tmp_path / "model")
    with pytest.raises(ValueError, match="contains no model"):
        sklinvariant.load(tmp_path / "model")


def test_missing_entries(tmp_path, words):
    for name in words._state.keys() - {"namespace", "n_seen", "shares"}:
        model = copy.copy(words)
        model._state = {key: value for key, value in words._state.items() if key != name}
        sklinvariant.save(model, tmp_path / "model")
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            sklinvariant.load(tmp_path / "model")


def test_entries_that_earlier_versions_lack(tmp_path, words):
    X = np.random.RandomState(0).normal(size=(5, 8, 4))
    for missing in ({"n_seen"}, {"shares"}, {"n_seen", "shares"}):
        model = copy.copy(words)
        model._state = {key: value for key, value in words._state.items() if key not in missing}
        sklinvariant.save(model, tmp_path / "model")
        loaded = sklinvariant.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.transform(X), words.transform(X))
        with pytest.raises(ValueError, match="earlier version"):
            loaded.partial_fit(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # after a single epoch
@pytest.mark.parametrize("name", [n for n, _ in sklinvariant.all_estimators()])
def test_every_estimator_declares_what_it_keeps(name):
    """Every array in the fitted state is declared, so that other shapes are refused."""
    estimator, X, y = example(name)
    for parameter in ("max_epochs", "clusterer__max_epochs"):
        if parameter in estimator.get_params():
            estimator.set_params(**{parameter: 1})
    estimator.fit(X, y)
    declared = layout_of(type(estimator))
    for key, value in estimator._state.items():
        if isinstance(value, (np.ndarray, dict)):
            assert key in declared, f"add {key!r} to _layout of {name}"


def test_models_of_the_first_release_that_lack_what_may_be_missing(tmp_path):
    """Undeclared entries, such as those of later versions, are accepted."""
    rng = np.random.RandomState(0)
    for model, X in ((VLAD(2), rng.normal(size=(5, 8, 4))), (LSHHasher(8), rng.normal(size=(5, 4)))):
        changed = with_state(model.fit(X), more=np.zeros(3))
        del changed._state["namespace"]
        sklinvariant.save(changed, tmp_path / "model")
        np.testing.assert_array_equal(sklinvariant.load(tmp_path / "model").transform(X), model.transform(X))


class Versioned(torch.nn.Sequential):
    """Like MNASNet of torchvision, it loads no state dict without the version of the layer."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if local_metadata.get("version") is None:
            raise ValueError("version should be set to 1 or 2 instead of None")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


_RNG = np.random.RandomState(0)
OF_USERS = [
    (lambda: BackboneFeatures(Versioned(torch.nn.Conv2d(3, 2, 3))), _RNG.rand(4, 8, 8, 3)),
    (lambda: LearnedAggregation(Versioned(torch.nn.Linear(3, 2)), max_epochs=1, random_state=0), _RNG.rand(4, 5, 3)),
    (lambda: _clusterer(), _RNG.rand(4, 3)),
    (lambda: IICClassifier(_clusterer(), max_epochs=1, random_state=0), _RNG.rand(4, 3)),
]


def _clusterer():
    network = Versioned(torch.nn.Linear(3, 2))
    return IICClusterer(2, network=network, n_neighbors=2, n_heads=1, max_epochs=1, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one epoch, on purpose
@pytest.mark.parametrize(("make", "X"), OF_USERS)
def test_networks_that_ask_for_their_version(make, X):
    model = make().fit(X, [0, 1, 0, 1])
    assert np.isfinite(model.transform(X)).all()
