"""Ctrl-C during a fit: KeyboardInterrupt reaches the caller, and the model is that of the last finished epoch."""

import inspect
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from callbacks import StopsAfter
from examples import ESTIMATORS, answers, example
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from tolerance import assert_close

import sklinvariant
from sklinvariant.aggregation import LearnedBoW
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.feature_extraction import ConvolutionalFeatures, DensePatches
from sklinvariant.hashing import RBMHasher
from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.pairs._nearest_partners import nearest_partners

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose

TRAINED = [
    "AutoPooling",
    "CanonicalRotation",
    "EquivariantAutoencoder",
    "IICClassifier",
    "IICClusterer",
    "IICSegmenter",
    "LearnedAggregation",
    "LearnedBoW",
    "LearnedFisherVector",
    "LearnedVLAD",
    "NeighborHasher",
    "RBMHasher",
    "SparseAutoencoder",
    "TEMIClusterer",
    "TURTLEClusterer",
]
GOING_ON = [name for name in TRAINED if hasattr(ESTIMATORS[name], "partial_fit")]


@pytest.fixture
def interrupt(monkeypatch):
    """interrupt(epoch, at) raises KeyboardInterrupt at this point of all later trainings; interrupt() never does."""
    notify, when = NeuralNet.notify, [None, None]

    def interrupted(net, method_name, **kwargs):
        epoch = len(net.history) + (method_name == "on_epoch_begin")  # which only then is added to the history
        if [epoch, method_name] == when:
            raise KeyboardInterrupt
        return notify(net, method_name, **kwargs)

    def set_point(epoch=None, at="on_batch_end"):
        when[:] = epoch, at

    monkeypatch.setattr(NeuralNet, "notify", interrupted)
    return set_point


def trained_example(name, max_epochs=4):
    """An estimator with a constant learning rate if it supports one, its data, and whether it does."""
    estimator, X, y = example(name)
    if name == "IICSegmenter":  # the slowest
        X, y = X[:8], y[:8]
    settings = {"max_epochs": max_epochs, "learning_rate_decay": None, "solver": "sgd"}
    known = estimator.get_params(deep=False)
    estimator.set_params(**{key: value for key, value in settings.items() if key in known})
    if name == "IICClassifier":  # or the training of its clusterer would be interrupted
        estimator.set_params(clusterer=FrozenEstimator(clone(estimator.clusterer).fit(X)))
    return estimator, X, y, "learning_rate_decay" in known or name == "RBMHasher"


def assert_unchanged(estimator, before):
    """All attributes are the same objects as before."""
    assert vars(estimator).keys() == before.keys()
    assert all(vars(estimator)[name] is value for name, value in before.items())


def stop_after(n_epochs):
    """A callback that stops training without an interruption."""
    return EarlyStopping("train_loss", patience=n_epochs - 1, threshold=1e9, threshold_mode="abs")


def losses(model):
    return np.array([row.get("loss", row.get("objective")) for row in model.history_])


@pytest.mark.parametrize("name", TRAINED)
def test_the_model_is_that_of_the_last_finished_epoch(name, interrupt):
    model, X, y, even_steps = trained_example(name)
    interrupt(3)
    with pytest.raises(KeyboardInterrupt) as interruption:
        model.fit(X, y)
    assert [note for note in interruption.value.__notes__ if f"{name}: training was interrupted" in note]
    interrupt()
    assert model.n_iter_ == len(model.history_) == 2
    expected = clone(model)
    if even_steps:
        expected.set_params(max_epochs=2)
    elif name == "AutoPooling":  # takes no skorch callbacks
        pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
        expected.set_callbacks(StopsAfter(2))
    else:
        expected.set_params(callbacks=[stop_after(2)])
    expected.fit(X, y)
    assert_close(losses(model), losses(expected))
    for actual, wanted in zip(answers(model, X), answers(expected, X), strict=True):
        assert_close(actual, wanted, rtol=1e-3)


@pytest.mark.parametrize("at", ["on_train_begin", "on_batch_end"])
@pytest.mark.parametrize("name", TRAINED)
def test_before_the_first_epoch_is_finished(name, at, interrupt):
    estimator, X, y, _ = trained_example(name)
    model, before = clone(estimator), dict(vars(estimator))
    interrupt(0 if at == "on_train_begin" else 1, at)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert_unchanged(estimator, before)
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    interrupt()
    former = answers(model.fit(X, y), X)
    before = dict(vars(model))
    interrupt(0 if at == "on_train_begin" else 1, at)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[::-1], y[::-1])
    assert_unchanged(model, before)
    for actual, wanted in zip(answers(model, X), former, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("name", GOING_ON)
def test_a_part_that_is_interrupted_was_not_seen(name, interrupt):
    model, X, y, _ = trained_example(name)
    model.partial_fit(X, **({"y": y} if hasattr(model, "predict") else {}))
    before = dict(vars(model))
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, **({"y": y} if hasattr(model, "predict") else {}))
    assert_unchanged(model, before)


def test_a_part_whose_descent_is_interrupted_was_not_seen(monkeypatch):
    """The moments of an interrupted part are discarded, or they would count twice if the part is passed again."""
    model, X, _, _ = trained_example("AutoPooling")
    model.set_params(solver="moment").partial_fit(X)
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt), call_interrupted(60):
        model.partial_fit(X)
    assert_unchanged(model, before)


@pytest.mark.parametrize("name", [name for name in GOING_ON if name != "AutoPooling"])
def test_warm_start_goes_on_from_what_is_kept(name, interrupt):
    model, X, y, _ = trained_example(name)
    model.set_params(warm_start=True).fit(X, y)
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert [row["epoch"] for row in model.history_] == list(range(1, 7))
    interrupt()
    assert [row["epoch"] for row in model.fit(X, y).history_] == list(range(1, 11))


@pytest.mark.parametrize("name", TRAINED)
def test_after_the_last_epoch(name, interrupt):
    """An interruption after the last epoch: the fit is completed."""
    model, X, y, _ = trained_example(name, max_epochs=2)
    expected = clone(model).fit(X, y)
    interrupt(2, "on_train_end")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 2
    for actual, wanted in zip(answers(model, X), answers(expected, X), strict=True):
        assert_close(actual, wanted, rtol=1e-3)


class Impatient(torch.nn.Module):
    """A network whose use outside training raises KeyboardInterrupt if ``armed`` is True."""

    armed = False

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 8, dtype=torch.float32, device="cpu")

    def forward(self, x):
        if Impatient.armed and not self.training:
            raise KeyboardInterrupt
        return self.layer(x)


class Arm(Callback):
    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            Impatient.armed = True
            raise KeyboardInterrupt


def test_a_second_interruption_leaves_the_former_model(monkeypatch):
    monkeypatch.setattr(Impatient, "armed", False)
    _, X, _ = example("IICClusterer")
    model = IICClusterer(2, network=Impatient(), max_epochs=4, init="random", n_heads=2, random_state=0).fit(X)
    before = dict(vars(model.set_params(callbacks=[Arm()])))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert Impatient.armed
    assert_unchanged(model, before)


class Fails(Callback):
    def on_train_end(self, net, **kwargs):
        raise RuntimeError("the disk is full")


class Interrupts(Callback):
    """Raises KeyboardInterrupt at the end of an epoch, as skorch's own callbacks do to stop training."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_begin(self, net, **kwargs):
        FITS.append(1)

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


FITS = []


def test_no_error_of_a_callback_hides_it(two_classes):
    X, y = two_classes
    model = LearnedBoW(3, callbacks=[Fails(), Interrupts(2)], random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 2


def test_searches_and_pipelines_stop(two_classes):
    X, y = two_classes
    model = LearnedBoW(3, max_epochs=3, random_state=0, callbacks=[Interrupts(2)])
    pipeline = make_pipeline(FunctionTransformer(), model)
    search = GridSearchCV(pipeline, {"learnedbow__n_codewords": [2, 3]}, cv=2)
    for fit in (pipeline.fit, search.fit, lambda X, y: cross_val_score(pipeline, X, y, cv=2)):
        FITS.clear()
        with pytest.raises(KeyboardInterrupt):
            fit(X, y)
        assert len(FITS) == 1
    assert not hasattr(search, "best_score_")
    assert pipeline[-1].n_iter_ == 2  # it was fitted in place


def test_an_ordinary_end_is_no_interruption(two_classes):
    X, y = two_classes
    assert LearnedBoW(3, callbacks=[stop_after(2)], tol=None).fit(X, y).n_iter_ == 2


def test_an_estimator_whose_part_was_interrupted_is_not_fitted():
    _, X, y = example("IICClassifier")
    clusterer = IICClusterer(2, n_neighbors=2, max_epochs=4, callbacks=[Interrupts(2)], random_state=0)
    images = example("ConvolutionalFeatures")[1]
    extractor = SparseAutoencoder(3, max_epochs=4, callbacks=[Interrupts(2)], random_state=0)
    for estimator, data in (
        (IICClassifier(clusterer), (X, y)),
        (ConvolutionalFeatures(extractor, patch_size=3), (images,)),
    ):
        before = dict(vars(estimator))
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(*data)
        assert_unchanged(estimator, before)


def test_a_checkpoint_is_there_until_the_model_is(tmp_path, interrupt):
    """After an interruption behind the last epoch, the next run repeats no epoch."""
    _, X, _ = example("IICClusterer")
    model = IICClusterer(2, n_neighbors=2, max_epochs=4, checkpoint=tmp_path / "fit", random_state=0)
    interrupt(4, "on_train_end")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert (tmp_path / "fit").exists()
    interrupt(5, "on_epoch_begin")  # never
    np.testing.assert_array_equal(clone(model).fit(X).labels_, model.labels_)
    assert not (tmp_path / "fit").exists()


def test_a_checkpoint_that_was_not_written_in_time(tmp_path, interrupt, monkeypatch):
    """The model may include an epoch that is missing in the checkpoint, because writing it was interrupted."""
    _, X, _ = example("IICClusterer")
    model = IICClusterer(2, n_neighbors=2, max_epochs=4, random_state=0)
    whole = clone(model).fit(X)
    model.set_params(checkpoint=tmp_path / "fit", warm_start=True)
    writing = [0]

    def interrupted(*args, _save=torch.save, **kwargs):
        writing[0] += 1
        if writing[0] == 3:
            raise KeyboardInterrupt
        return _save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_iter_ == 3
    model.fit(X)
    assert [row["epoch"] for row in model.history_] == [1, 2, 3, 4]
    np.testing.assert_array_equal(model.transform(X), whole.transform(X))


@pytest.mark.parametrize("where", ["search", "epoch"])
def test_before_the_first_epoch_a_note_says_that_there_is_no_checkpoint(where, tmp_path, interrupt, monkeypatch):
    estimator, X, y = trained_example("NeighborHasher")[:3]
    estimator.set_params(checkpoint=tmp_path / "fit")
    interrupt(2, "on_batch_begin")
    with pytest.raises(KeyboardInterrupt) as later:
        estimator.fit(X, y)
    assert not any("nothing was kept" in note for note in later.value.__notes__)
    (tmp_path / "fit").unlink()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    interrupt(1, "on_batch_begin")
    if where == "search":
        monkeypatch.setattr(type(estimator), "_data", interrupted)
    with pytest.raises(KeyboardInterrupt) as early:
        estimator.fit_transform(X, y)
    expected = f"NeighborHasher: nothing was kept of this fit; checkpoint={str(tmp_path / 'fit')!r}, which is written"
    assert [note[: len(expected)] for note in early.value.__notes__] == [expected]


class call_interrupted:
    """Raises KeyboardInterrupt in the n-th call of a function of the package; without n it counts the calls."""

    folder = str(Path(sklinvariant.__file__).parent)

    def __init__(self, n=None):
        self.n, self.count = n, 0

    def _see(self, frame, event, argument):
        code = frame.f_code
        # the call of a generator may be the one that closes it, from which Python lets no exception out
        if event == "call" and code.co_filename.startswith(self.folder) and not code.co_flags & inspect.CO_GENERATOR:
            self.count += 1
            if self.count == self.n:
                raise KeyboardInterrupt

    def __enter__(self):
        self.before = sys.getprofile()
        sys.setprofile(self._see)
        return self

    def __exit__(self, *error):
        sys.setprofile(self.before)


def test_long_searches_are_made_in_parts(monkeypatch):
    """Ctrl-C takes effect between calls of faiss, so each call must be short."""
    faiss, scanned = pytest.importorskip("faiss"), []

    def knn_hamming(queries, codes, k):
        scanned.append(len(queries) * codes.nbytes)
        return np.zeros((len(queries), k), np.int32), np.zeros((len(queries), k), np.int64)

    model = HammingNeighbors(packed=True).fit(np.random.RandomState(0).randint(256, size=(100_000, 8), dtype=np.uint8))
    monkeypatch.setattr(faiss, "knn_hamming", knn_hamming)
    assert model.kneighbors(n_neighbors=3)[0].shape == (100_000, 3)
    assert sum(scanned) == 100_000 * 800_000
    assert max(scanned) <= 1 << 30  # about half a second


def test_parts_do_not_show():
    images = np.random.RandomState(0).rand(40, 64, 64).astype(np.float32)
    model = DensePatches(16, stride=1, normalize="contrast").fit(images)
    whole = model.transform(images)
    for i in (0, 17, 39):
        assert_close(whole[i], model.transform(images[i : i + 1])[0])
    codes = np.random.RandomState(0).randint(2, size=(3000, 16)).astype(np.uint8)
    distances = (codes[:, None] != codes[:50]).sum(2)
    for index in ("exact", "ivf", "multihash"):
        model = HammingNeighbors(index=index, random_state=0).fit(codes[:50])
        assert (model.kneighbors(codes, n_neighbors=1)[0][:, 0] >= distances.min(1)).all()
        for row, found in enumerate(HammingNeighbors().fit(codes[:50]).radius_neighbors(codes, radius=2)[1][:20]):
            assert set(found) == set(np.flatnonzero(distances[row] <= 2))


def test_neighbours_are_found_in_parts(monkeypatch):
    rows = np.random.RandomState(0).normal(size=(700, 20)).astype(np.float32)
    rows[:5] = 100.0  # more than are looked for, far from the others
    expected = NearestNeighbors(n_neighbors=3).fit(rows).kneighbors(return_distance=False)
    monkeypatch.setattr("sklinvariant.pairs._nearest_partners._COMPARED", 1)
    searched, search = [], NearestNeighbors.kneighbors

    def kneighbors(self, X=None, **params):
        searched.append(len(X))
        return search(self, X, **params)

    monkeypatch.setattr(NearestNeighbors, "kneighbors", kneighbors)
    found = nearest_partners(torch.from_numpy(rows), 3).numpy()
    assert searched == [256, 256, 188]
    np.testing.assert_array_equal(found[5:], expected[5:])
    assert all(len({*few, i}) == 4 for i, few in enumerate(found.tolist()))
    assert all(few <= set(range(5)) for few in map(set, found[:5].tolist()))


def test_steps_within_a_step_are_bounded():
    """A step with a million iterations could not be interrupted."""
    rows = np.random.RandomState(0).rand(20, 4)
    with pytest.raises(ValueError, match=r"'cd_steps' parameter .* range \[1, 1000\]"):
        RBMHasher(4, cd_steps=1_000_000).fit(rows)


def seen_epochs(estimator):
    """Number of finished epochs or iterations; 0 for estimators that do not count them."""
    return getattr(estimator, "n_iter_", 0) if "max_epochs" in estimator.get_params(deep=False) else 0


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_anywhere_in_a_fit(name):
    """KeyboardInterrupt always reaches the caller. The estimator is unchanged, or has some finished epochs."""
    estimator, X, y = example(name)
    if "max_epochs" in estimator.get_params(deep=False):
        estimator.set_params(max_epochs=2)
    clone(estimator).fit(X, y)  # what is imported and cached in a first fit is not counted
    model = clone(estimator)
    with call_interrupted() as calls:
        model.fit(X, y)
    rng = np.random.RandomState(0)
    for n in rng.randint(1, calls.count + 1, size=int(4 * float(os.environ.get("SKLINVARIANT_FUZZ", 1)))):
        model = clone(estimator)
        before = dict(vars(model))
        with pytest.raises(KeyboardInterrupt), call_interrupted(n):
            model.fit(X, y)
        if seen_epochs(model):
            assert seen_epochs(model) == len(model.history_) - (name == "AutoPooling")  # has the start as well
            assert all(np.isfinite(answer).all() for answer in answers(model, X))
        else:
            assert_unchanged(model, before)
