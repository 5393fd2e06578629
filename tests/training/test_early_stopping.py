"""Early stopping on held-out samples: which samples, what is scored, when training stops, which parameters remain."""

import numpy as np
import pytest
import torch
from callbacks import Interrupts
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier
from skorch.callbacks import Checkpoint as SkorchCheckpoint
from skorch.callbacks import EarlyStopping, LRScheduler
from tolerance import assert_close

from sklinvariant import LearnedBoW, LearnedVLAD, load, save
from sklinvariant.base import torch_generator
from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.training import prepare_targets
from sklinvariant.training._early_stopping import split_targets

STEADY = {"learning_rate_decay": None, "fine_tune": False, "batch_size": 10, "random_state": 0, "weight_decay": 0.01}


@pytest.fixture
def bags(global_random_seed):
    """60 bags of three overlapping classes."""
    rng = np.random.RandomState(global_random_seed)
    y = np.arange(60) % 3
    return rng.normal(size=(60, 8, 3)) * (1 + 0.5 * y)[:, None, None], y


def targets_of(y, sample_weight=None, loss="log_loss"):
    settings = {"loss": loss, "task": None, "n_samples": len(y), "dtype": torch.float64, "name": "LearnedBoW"}
    return prepare_targets(y, sample_weight, None, partial=False, **settings)


def split_of(y, fraction, sample_weight=None, loss="log_loss"):
    """The split of a fit with ``random_state=0``."""
    return split_targets(targets_of(y, sample_weight, loss), fraction, torch_generator(0).initial_seed())


def test_the_split_is_stratified_and_seeded():
    y = np.repeat([0, 1, 2], [60, 30, 10])
    train, held_out = split_targets(targets_of(y), 0.2, 0)
    assert np.bincount(y[held_out]).tolist() == [12, 6, 2]
    assert sorted([*train, *held_out]) == list(range(100))
    np.testing.assert_array_equal(split_targets(targets_of(y), 0.2, 0)[1], held_out)
    assert split_targets(targets_of(y), 0.2, 1)[1].tolist() != held_out.tolist()
    weight = np.where(np.arange(100) % 5, 1.0, 0.0)
    train, held_out = split_targets(targets_of(y, weight), 0.25, 0)
    assert (weight[[*train, *held_out]] == 1).all()
    assert (len(train), len(held_out)) == (60, 20)
    assert len(split_targets(targets_of(y, loss="squared_error"), 0.25, 0)[1]) == 25


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_and_the_best_epoch(bags, weighted):
    """The score of each epoch and the model are those of a fit to the training part with this number of epochs."""
    X, y = bags
    weight = np.random.RandomState(0).rand(60) if weighted else None
    model = LearnedBoW(3, early_stopping=True, validation_fraction=0.3, n_iter_no_change=3, **STEADY)
    model.fit(X, y, sample_weight=weight)
    train, held_out = split_of(y, 0.3, weight)
    w_train, w_held_out = (None, None) if weight is None else (weight[train], weight[held_out])
    models = [
        LearnedBoW(3, max_epochs=n, **STEADY).fit(X[train], y[train], sample_weight=w_train)
        for n in range(1, model.n_iter_ + 1)
    ]
    expected = [accuracy_score(y[held_out], m.predict(X[held_out]), sample_weight=w_held_out) for m in models]
    np.testing.assert_allclose(model.validation_scores_, expected)
    assert model.best_validation_score_ == max(model.validation_scores_)
    best = int(np.argmax(model.validation_scores_))
    assert_close(model.predict_proba(X), models[best].predict_proba(X), rtol=1e-6)  # weights are scaled in two ways
    assert model.n_iter_ in (best + 1 + 3, 30)


def test_what_is_scored(bags):
    X, y = bags
    real = np.stack([y, X.mean((1, 2))], 1)
    several = np.stack([y == 0, y > 0], 1).astype(int)

    def loss(representation, target):
        return (representation.sum(1) - target).square()

    settings = {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 1, **STEADY}
    for kind, target, metric in [("squared_error", real, r2_score), ("hinge", several, accuracy_score)]:
        _, held_out = split_of(target, 0.3, loss=kind)
        model = LearnedBoW(3, loss=kind, **settings).fit(X, target)
        np.testing.assert_allclose(
            model.validation_scores_, [metric(target[held_out], model.predict(X[held_out]))], rtol=1e-5
        )
    model = LearnedBoW(3, loss=loss, **settings).fit(X, y.astype(float))
    assert model.best_validation_score_ == -model.history_[0]["validation_loss"]


def test_the_validation_loss_is_that_of_the_held_out_samples(bags):
    X, y = bags
    settings = {**STEADY, "batch_size": 1000, "descriptors_per_sample": None}
    model = LearnedBoW(3, early_stopping=True, validation_fraction=0.3, max_epochs=1, **settings).fit(X, y)
    _, held_out = split_of(y, 0.3)
    log_loss = -np.log(model.predict_proba(X[held_out])[np.arange(18), y[held_out]]).mean()
    penalty = model.weight_decay / 2 * np.square(model.coef_ / model._state["gain"]).sum()
    assert model.history_[0]["validation_loss"] == pytest.approx(log_loss + penalty, rel=1e-5)


def test_tol_and_patience(bags):
    X, y = bags
    model = LearnedBoW(3, early_stopping=True, tol=2.0, n_iter_no_change=4, **STEADY).fit(X, y)
    assert model.n_iter_ == 5
    assert clone(model).set_params(max_epochs=3).fit(X, y).n_iter_ == 3
    without = LearnedBoW(3, max_epochs=2, **STEADY).fit(X, y)
    assert without.validation_scores_ is without.best_validation_score_ is None
    assert not hasattr(LearnedBoW(), "validation_scores_")
    assert not hasattr(LearnedBoW(), "best_validation_score_")


def test_the_default_patience_is_that_of_scikit_learn():
    assert LearnedBoW().n_iter_no_change == MLPClassifier().n_iter_no_change


def test_a_warm_start_does_not_get_worse(bags):
    X, y = bags
    model = LearnedBoW(3, early_stopping=True, validation_fraction=0.3, warm_start=True, **STEADY).fit(X, y)
    before, proba = model.best_validation_score_, model.predict_proba(X)
    model.set_params(learning_rate=1e-12).fit(X, y)  # no epoch is better than the start
    assert model.best_validation_score_ == before
    assert len(model.validation_scores_) == len(model.history_) == model.n_iter_
    assert_close(model.predict_proba(X), proba, rtol=1e-5)


def test_an_interrupted_fit_keeps_the_best_epoch(bags):
    X, y = bags
    model = LearnedBoW(3, early_stopping=True, validation_fraction=0.3, callbacks=[Interrupts(5)], **STEADY)
    with pytest.raises(KeyboardInterrupt) as info:
        model.fit(X, y)
    assert "the model is that of the best epoch up to the last finished one, 4" in info.value.__notes__[0]
    expected = clone(model).set_params(callbacks=None, max_epochs=4).fit(X, y)
    assert model.validation_scores_ == pytest.approx(expected.validation_scores_)
    assert_close(model.predict_proba(X), expected.predict_proba(X), rtol=1e-5)


def fine_tuned(**params):
    X, y = make_blobs(60, n_features=4, centers=3, cluster_std=2.0, random_state=0)
    clusterer = IICClusterer(3, n_neighbors=5, n_heads=2, max_epochs=2, batch_size=30, random_state=0).fit(X)
    settings = {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 8, "n_iter_no_change": 8}
    return IICClassifier(FrozenEstimator(clusterer), batch_size=10, **settings | params), X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [0, None])
def test_an_interrupted_fit_goes_on_from_its_checkpoint(seed, bags, tmp_path):
    """The same samples are held out when a fit resumes, also without a seed."""
    bow = LearnedBoW(3, early_stopping=True, validation_fraction=0.3, **STEADY).set_params(random_state=seed)
    for estimator, X, y in [(bow.set_params(max_epochs=8, n_iter_no_change=8), *bags), fine_tuned(random_state=seed)]:
        path = tmp_path / type(estimator).__name__
        model = clone(estimator).set_params(checkpoint=path, callbacks=[Interrupts(5)])
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        resumed = clone(model).set_params(callbacks=None).fit(X, y)
        assert not path.exists()
        assert resumed.validation_scores_[:4] == model.validation_scores_
        assert len(resumed.validation_scores_) == 8
        if seed is not None:
            whole = clone(estimator).fit(X, y)
            assert resumed.validation_scores_ == pytest.approx(whole.validation_scores_)
            assert_close(resumed.predict_proba(X), whole.predict_proba(X), rtol=1e-5)


def test_the_split_of_an_interrupted_fit(bags, tmp_path, monkeypatch):
    X, y = bags
    from sklinvariant.training import _early_stopping

    splits = []

    def split(*args):
        splits.append(split_targets(*args))
        return splits[-1]

    monkeypatch.setattr(_early_stopping, "split_targets", split)
    model = LearnedBoW(3, early_stopping=True, checkpoint=tmp_path / "fit", callbacks=[Interrupts(2)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    clone(model).set_params(callbacks=None).fit(X, y)
    clone(model).set_params(callbacks=None).fit(X, y)
    first, resumed, other = (held_out.tolist() for _, held_out in splits)
    assert first == resumed
    assert first != other


def test_fine_tuning_of_a_clusterer(bags):
    model, X, y = fine_tuned(random_state=0)
    model.fit(X, y)
    _, held_out = split_of(y, 0.3)
    assert model.best_validation_score_ == pytest.approx(model.score(X[held_out], y[held_out]))
    few = np.where(np.arange(60) < 40, y, -1)
    assert len(clone(model).fit(X, few).validation_scores_) == 8
    first = np.concatenate([np.flatnonzero(y == k)[:2] for k in range(3)])
    two_of_each = np.where(np.isin(np.arange(60), first), y, -1)
    with pytest.raises(ValueError, match="hold out 2 of 6 samples, but needs at least 3"):
        clone(model).fit(X, two_of_each)


def test_too_few_samples(bags):
    X, y = bags
    with pytest.raises(
        ValueError, match=r"validation_fraction=0.1 would hold out 1 of 6 samples, but needs at least 3"
    ):
        LearnedBoW(3, early_stopping=True).fit(X[:6], y[:6])
    with pytest.raises(ValueError, match=r"2 samples of each class \(the smallest class has 1"):
        LearnedBoW(3, early_stopping=True).fit(X, np.where(np.arange(60) == 0, 3, y))
    with pytest.raises(ValueError, match="'validation_fraction' parameter of LearnedVLAD must be"):
        LearnedVLAD(3, early_stopping=True, validation_fraction=1.0).fit(X, y)


def test_partial_fit_refuses(bags):
    X, y = bags
    model = LearnedBoW(3, early_stopping=True, **STEADY)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, y)
    assert not hasattr(model, "_state")


def test_a_file_keeps_the_scores(bags, tmp_path):
    X, y = bags
    model = LearnedBoW(3, early_stopping=True, max_epochs=2, **STEADY).fit(X, y)
    save(model, tmp_path / "model")
    copy = load(tmp_path / "model")
    assert copy.validation_scores_ == model.validation_scores_
    assert copy.best_validation_score_ == model.best_validation_score_


def test_callbacks_of_skorch_monitor_the_held_out_samples(bags, tmp_path):
    X, y = bags
    model = LearnedBoW(3, early_stopping=True, n_iter_no_change=30, **STEADY)
    stop = EarlyStopping(patience=2, threshold=10.0, threshold_mode="abs", sink=lambda *_: None)
    assert stop.monitor == "valid_loss"
    assert clone(model).set_params(callbacks=[stop]).fit(X, y).n_iter_ == 2 + 1
    others = [
        EarlyStopping("validation_score", patience=30, lower_is_better=False),
        LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
        SkorchCheckpoint(dirname=tmp_path, f_pickle=None),
    ]
    assert clone(model).set_params(callbacks=others).fit(X, y).n_iter_ == 30
    assert (tmp_path / "params.pt").exists()
    with pytest.raises(ValueError, match=r"'valid_acc' is not recorded\. Use one of 'valid_loss'"):
        clone(model).set_params(callbacks=[EarlyStopping("valid_acc")]).fit(X, y)
    with pytest.raises(ValueError, match="or set early_stopping=True"):
        clone(model).set_params(callbacks=[EarlyStopping()], early_stopping=False).fit(X, y)
