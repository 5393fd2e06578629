"""The descent on moments: its objective, offsets, parts, models that are joined, and interruptions."""

import itertools
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import MinMaxScaler
from tolerance import assert_close

import sklinvariant
from sklinvariant import AutoPooling
from sklinvariant.pooling._auto_pooling import _by_moments
from sklinvariant.pooling._auto_pooling._by_moments import follow

GROUPS = np.repeat(np.arange(5), [30, 1, 20, 2, 47])  # the clips of the fixture ``frames``


@pytest.mark.filterwarnings("ignore:.*components are almost 0")
@pytest.mark.parametrize("invariance", [0.0, 2.0, 1e6])
def test_the_objective_never_rises(frames, invariance):
    model = AutoPooling(5, invariance=invariance, random_state=0).fit(frames, groups=GROUPS)
    values = [row["objective"] for row in model.history_]
    assert len(values) == model.n_iter_ + 1 > 2
    assert all(a >= b for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("offset", [1e4, 1e5, 1e8])
@pytest.mark.parametrize("cross", [False, True])
def test_a_mean_of_many_deviations(offset, cross):
    """The standardised features, and therefore J and the components, do not depend on an offset."""
    X = np.random.RandomState(0).randint(0, 1024, (20, 200)) / 1024  # the offset loses no digits
    groups = np.repeat([0, 1], [5, 15])
    params = {"cross_reconstruction": cross, "random_state": 0}
    expected = AutoPooling(8, **params).fit(X, groups=groups)
    X += offset
    model = AutoPooling(8, **params).fit(X, groups=groups)
    assert model.objective_ == pytest.approx(expected.objective_, rel=1e-6)
    assert_close(model.scale_, expected.scale_, rtol=1e-6)
    assert_close(model.mean_, expected.mean_ + offset)
    parts = [AutoPooling(8, **params).fit(X[groups == i], groups=groups[groups == i]) for i in (0, 1)]
    joined = clone(model).fit_moments(parts)
    assert joined.objective_ == pytest.approx(model.objective_, rel=1e-6)
    for other in (joined, parts[0].partial_fit(X[5:], groups=groups[5:])):
        assert_close(other.scale_, model.scale_, rtol=1e-6)
        assert_close(other._state["total"], model._state["total"], rtol=1e-6)


def test_later_frames_with_another_mean(frames):
    """The first call sees dark frames, whose mean is far from that of all."""
    X = frames + np.where(np.arange(100) < 20, 0, 1e6)[:, None]
    groups = np.repeat([0, 1], [20, 80])
    whole = AutoPooling(3, random_state=0).fit(X, groups=groups)
    parts = AutoPooling(3, random_state=0).partial_fit(X[:20]).partial_fit(X[20:])
    assert_close(parts.mean_, whole.mean_)
    assert_close(parts.scale_, whole.scale_)
    assert_close(parts._state["total"], whole._state["total"])


def test_features_constant_in_parts(frames):
    X = np.pad(frames, ((0, 0), (0, 1)), constant_values=0.1)
    model = AutoPooling(2, random_state=0)
    for part in (slice(10), slice(10, 37), slice(37, None)):
        model.partial_fit(X[part], groups=GROUPS[part])
    assert model.scale_[-1] == 1
    assert not model.components_[:, -1].any()


def test_partial_fit_of_one_frame_after_another(frames):
    """Frames that arrive one at a time are connected by the name of the clip."""
    model = AutoPooling(2, random_state=0).partial_fit(frames[:2], groups=["live", "live"])
    for i in range(2, 6):
        model.partial_fit(frames[i : i + 1], groups=["live"])
    whole = AutoPooling(2, random_state=0).fit(frames[:6])
    np.testing.assert_allclose(model._state["change"], whole._state["change"])


def test_ctrl_c_keeps_the_last_iteration(frames, monkeypatch):
    def interrupted(*args):
        yield from itertools.islice(_descend(*args), 4)
        raise KeyboardInterrupt

    _descend = _by_moments.descend
    monkeypatch.setattr(_by_moments, "descend", interrupted)
    model = AutoPooling(3, random_state=0)
    with pytest.raises(KeyboardInterrupt) as interruption:
        model.fit(frames)
    assert interruption.value.__notes__ == [
        "AutoPooling: training was interrupted; the model is that of the last finished iteration, 3"
    ]
    monkeypatch.setattr(_by_moments, "descend", _descend)
    with pytest.warns(ConvergenceWarning, match="max_iter=3 was reached, but the gradient is still .* above tol"):
        expected = AutoPooling(3, max_iter=3, random_state=0).fit(frames)
    assert_close(model.components_, expected.components_, rtol=1e-6)
    assert model.n_iter_ == 3


def test_time_after_the_pass_does_not_grow_with_frames(frames):
    """The time of an iteration does not depend on the number of frames."""
    seconds = {}
    for n in (10_000, 1_000_000):
        X = np.tile(frames.astype(np.float32), (n // 100, 1))
        model = AutoPooling(4, tol=1e-9, random_state=0).fit(X)
        seconds[n] = statistics.median(row["seconds"] for row in model.history_[1:])
    assert seconds[1_000_000] < 20 * seconds[10_000]  # of 100 that a pass over the frames would take


def test_partial_fit_cannot_add_moments_that_batches_did_not_keep(frames):
    model = AutoPooling(3, solver="sgd", max_epochs=2, random_state=0).fit(frames)
    with pytest.raises(ValueError, match='solver="moment" cannot continue a fit with "sgd"'):
        model.set_params(solver="moment").partial_fit(frames)


@pytest.mark.parametrize("cross", [False, True])
def test_moments_of_parts_are_those_of_all(frames, tmp_path, cross):
    """Models of parts of the data, which are fitted separately, saved, and combined."""
    params = {"cross_reconstruction": cross, "random_state": 0}
    parts, cut = [], 51  # between two clips
    for rows in (slice(None, cut), slice(cut, None)):
        part = AutoPooling(2, max_iter=1, tol=1.0, **params).fit(frames[rows], groups=GROUPS[rows])
        sklinvariant.save(part, tmp_path / "part")
        parts.append(sklinvariant.load(tmp_path / "part"))
    whole = AutoPooling(3, **params).fit(frames, groups=GROUPS)
    joined = AutoPooling(3, **params).fit_moments(parts)
    assert joined._state["n_pairs"] == whole._state["n_pairs"]
    assert joined.n_features_in_ == 12
    assert joined.objective_ == pytest.approx(whole.objective_, rel=1e-9)
    np.testing.assert_allclose(joined.transform(frames), whole.transform(frames), rtol=1e-5)
    again = joined.partial_fit(frames[:30]).objective_  # it goes on like any other
    assert again == pytest.approx(whole.partial_fit(frames[:30]).objective_, rel=1e-6)


def test_another_invariance_without_another_pass(frames):
    fitted = AutoPooling(3, random_state=0).fit(frames)
    expected = AutoPooling(3, invariance=5.0, random_state=0).fit(frames)
    model = clone(expected).fit_moments([fitted])
    assert_close(model.components_, expected.components_, rtol=1e-3)
    own = fitted.set_params(invariance=5.0).fit_moments([fitted])
    assert_close(own.components_, expected.components_, rtol=1e-3)


def test_moments_of_named_features(frames):
    pd = pytest.importorskip("pandas")
    part = AutoPooling(3, random_state=0).fit(pd.DataFrame(frames, columns=list("abcdefghijkl")))
    joined = AutoPooling(3, random_state=0).fit_moments([part, part])
    assert list(joined.feature_names_in_) == list("abcdefghijkl")
    assert not hasattr(AutoPooling(3, random_state=0).fit_moments([part, _fitted(frames)]), "feature_names_in_")


def _fitted(X, **params):
    return AutoPooling(3, random_state=0, **params).fit(X)


@pytest.mark.parametrize(
    ("models", "params", "message"),
    [
        (lambda X: [], {}, "non-empty list of fitted AutoPooling"),
        (lambda X: _fitted(X), {}, "models must be a non-empty list of fitted AutoPooling"),
        (lambda X: [_fitted(X), MinMaxScaler().fit(X)], {}, "models.1. must be a fitted AutoPooling, got MinMaxScaler"),
        (lambda X: [_fitted(X), AutoPooling()], {}, "models.1. must be a fitted AutoPooling, got AutoPooling"),
        (lambda X: [_fitted(X, solver="sgd", max_epochs=1)], {}, 'models.0.: .* cannot continue a fit with "sgd"'),
        (lambda X: [_fitted(X), _fitted(X[:, :5])], {}, "models.1. has 5 features, but models.0. has 12"),
        (
            lambda X: [_fitted(X)],
            {"cross_reconstruction": True},
            "cross_reconstruction=True cannot continue",
        ),
        (lambda X: [_fitted(X)], {"invariance": 1e300}, r"features up to \S+ and invariance=1e\+300 make J infinite"),
    ],
)
def test_moments_that_cannot_be_joined(frames, models, params, message):
    model = _fitted(frames)
    before = model.components_
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit_moments(models(frames))
    np.testing.assert_array_equal(model.components_, before)


def test_moment_warns_that_it_writes_no_checkpoint(tmp_path):
    X = np.random.default_rng(0).random((20, 3)).cumsum(0)
    model = AutoPooling(2, checkpoint=tmp_path / "fit")
    with pytest.warns(
        UserWarning,
        match=r'checkpoint=.*fit.* has no effect.*"moment", which writes no file. Set solver="sgd", or checkpoint=None',
    ):
        model.fit(X)
    model.partial_fit(X)  # never writes a checkpoint, whatever the solver
    assert not list(tmp_path.iterdir())


class Report:
    """Counts the epochs, and stops after a given number."""

    estimator = SimpleNamespace()

    def __init__(self, stop_after=None):
        self.begun, self.ended, self.seen, self.stop_after = 0, 0, [], stop_after

    def begin_epoch(self):
        self.begun += 1

    def end_epoch(self, attributes):
        self.seen.append(attributes())
        return len(self.seen) == self.stop_after

    def end(self, attributes):
        self.ended += 1


def _follow(report, n=100, **settings):
    """A residual that halves in each iteration."""
    iterates = (SimpleNamespace(objective=float(n - i), residual=0.5**i) for i in range(n))
    finished = []
    follow(
        iterates,
        **{"name": "Test", "max_iter": 50, "tol": 0.1, "reference": 1.0, "verbose": 0, **settings},
        report=report,
        attributes=lambda iterate, history: (iterate.residual, len(history)),
        finish=lambda iterate, history: finished.append((iterate, history)),
    )
    return finished


def test_it_ends_when_the_residual_is_small():
    report = Report()
    ((last, history),) = _follow(report)
    assert last.residual == 0.5**4  # the first of at most a tenth
    assert [row["epoch"] for row in history] == [row["iteration"] for row in history] == [0, 1, 2, 3, 4]
    assert [row["loss"] for row in history] == [100, 99, 98, 97, 96]
    assert history[0]["seconds"] == 0
    assert report.seen == [(0.5**i, i + 1) for i in range(1, 5)]
    assert (report.begun, report.ended) == (4, 1)


def test_it_ends_where_a_callback_says_so():
    ((last, history),) = _follow(Report(stop_after=2))
    assert last.residual == 0.25
    assert len(history) == 3


def test_it_ends_where_there_is_no_further_iterate():
    ((last, _),) = _follow(Report(), n=3)
    assert last.residual == 0.25


def test_too_few_iterations_warn():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 was reached, .*still 2.5e-01 of its initial value"):
        ((last, _),) = _follow(Report(), max_iter=2)
    assert last.residual == 0.25
