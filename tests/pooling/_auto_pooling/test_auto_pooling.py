"""AutoPooling: clips, solvers, degenerate data, and use with scikit-learn."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
import torch
from callbacks import StopsAfter
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from tolerance import assert_close, assert_same_labels

import sklinvariant
from sklinvariant import AutoPooling

CLIPS = [30, 1, 20, 2, 47]  # those of the fixture ``frames``
GROUPS = np.repeat(np.arange(len(CLIPS)), CLIPS)


@pytest.fixture(scope="module")
def shifted_digits():
    """(300, 2, 64): digits, and the same digits shifted by one pixel to the right."""
    images = load_digits().images[:300]
    return np.stack([images, np.roll(images, 1, 2)], 1).reshape(300, 2, 64)


def _pairs(X, groups=GROUPS):
    return np.stack([[X[i], X[i + 1]] for i in range(len(X) - 1) if groups[i] == groups[i + 1]])


def _errors(pairs, P, cross=False):
    """J₁ and J₂ as the paper writes them, pair by pair."""
    invariance_error = reconstruction_error = 0.0
    for y, y_next in pairs:
        z, z_next = P @ y, P @ y_next
        invariance_error += ((z - z_next) ** 2).sum() / 2
        missed = y - P.T @ z, y_next - P.T @ (z if cross else z_next)
        reconstruction_error += sum((part**2).sum() for part in missed) / 2
    return invariance_error / len(pairs), reconstruction_error / len(pairs)


def _standardised(pairs):
    return (pairs - pairs.mean((0, 1))) / pairs.std((0, 1))


@pytest.mark.parametrize("solver", ["moment", "sgd"])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_reported_errors(frames, solver, cross, standardize):
    params = {"cross_reconstruction": cross, "standardize": standardize, "invariance": 0.7}
    model = AutoPooling(3, solver=solver, max_epochs=2, random_state=0, **params).fit(frames, groups=GROUPS)
    pairs = _standardised(_pairs(frames)) if standardize else _pairs(frames)
    expected = _errors(pairs, model.components_, cross)
    np.testing.assert_allclose([model.invariance_error_, model.reconstruction_error_], expected)
    assert model.objective_ == pytest.approx(0.7 * expected[0] + expected[1])
    if solver == "moment":
        assert model.history_[-1]["objective"] == pytest.approx(model.objective_)
    mean, scale = (model.mean_, model.scale_) if standardize else (0, 1)
    pooled = model.transform(frames)
    np.testing.assert_allclose(pooled, frames / scale @ model.components_.T)
    z = (frames - mean) / scale @ model.components_.T
    np.testing.assert_allclose(model.inverse_transform(pooled), mean + scale * (z @ model.components_))


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_standardised_features(frames, solver):
    """Mean and scale are those of the frames of the pairs. A constant feature has no weight, and units do not count."""
    X = np.pad(frames, ((0, 0), (0, 1)), constant_values=7.0)
    model = AutoPooling(3, solver=solver, max_epochs=3, random_state=0).fit(X, groups=GROUPS)
    pairs = _pairs(frames)
    assert_close(model.mean_, np.append(pairs.mean((0, 1)), 7.0))
    assert_close(model.scale_, np.append(pairs.std((0, 1)), 1.0))
    assert not model.components_[:, -1].any()
    assert (model.transform(X) >= 0).all()
    other = AutoPooling(3, solver=solver, max_epochs=3, random_state=0).fit(X * np.arange(1, 14), groups=GROUPS)
    assert_close(other.components_, model.components_, rtol=1e-3)
    plain = AutoPooling(3, solver=solver, max_epochs=3, standardize=False, random_state=0).fit(X, groups=GROUPS)
    assert plain.mean_ is None
    assert plain.scale_ is None


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_almost_constant_features_vary(solver):
    X = 1 + np.random.RandomState(0).randint(1, 100, (30, 4)) * 2.0**-40
    model = AutoPooling(2, solver=solver, max_epochs=3, random_state=0).fit(X)
    assert_close(model.scale_, (_pairs(X, np.zeros(30)) - 1).std((0, 1)), rtol=1e-3)
    assert model.components_.any()


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_features_constant_up_to_rounding(frames, solver):
    X = np.pad(frames, ((0, 0), (0, 1)), constant_values=0.3)
    X[::2, -1] = 0.1 + 0.2
    model = AutoPooling(2, solver=solver, max_epochs=3, random_state=0).fit(X)
    assert model.scale_[-1] == 1
    assert not model.components_[:, -1].any()


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_models_saved_before_standardize(frames, tmp_path, solver):
    model = AutoPooling(3, solver=solver, max_epochs=2, standardize=False, random_state=0).fit(frames)
    pooled, continued = model.transform(frames), pickle.loads(pickle.dumps(model)).partial_fit(frames)
    for name in ("mean", "scale", "varies"):
        model._state.pop(name, None)
    model.standardize = True  # the default that the parameter takes when the file has none
    sklinvariant.save(model, tmp_path / "model")
    for copy in (sklinvariant.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert copy.standardize is False
        assert copy.mean_ is None
        assert copy.scale_ is None
        np.testing.assert_array_equal(copy.transform(frames), pooled)
        assert_close(copy.partial_fit(frames).components_, continued.components_, rtol=1e-3)


def test_features_with_energy_attract_clusters_unless_standardised(frames):
    X = frames * np.repeat([10, 1, 1], 4)  # the first object is seen much more strongly
    pooled = {
        standardize: AutoPooling(3, standardize=standardize, random_state=0).fit(X, groups=GROUPS).components_
        for standardize in (False, True)
    }
    found = {name: len(np.unique(components.argmax(1) // 4)) for name, components in pooled.items()}
    assert found[True] == 3
    assert found[False] < 3


def _order(model):
    """The components in the order of the objects whose features they pool."""
    return np.argsort(model.components_.argmax(1))


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_features_of_one_object_are_pooled(frames, solver):
    """Features of one object are pooled although they are rarely large in the same frame."""
    model = AutoPooling(3, solver=solver, standardize=solver == "moment", max_epochs=100, batch_size=16, random_state=0)
    model.fit(frames, groups=GROUPS)
    assert_same_labels(model.components_[_order(model)].argmax(0), np.repeat(range(3), 4), model.components_.T)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("invariance", [0.0, 2.0, 10.0])
def test_solvers_agree(shifted_digits, cross, invariance):
    params = {"invariance": invariance, "cross_reconstruction": cross, "random_state": 1}
    exact = AutoPooling(10, solver="moment", **params).fit(shifted_digits)
    batches = AutoPooling(10, solver="sgd", max_epochs=100, batch_size=30, **params).fit(shifted_digits)
    assert batches.objective_ == pytest.approx(exact.objective_, rel=0.01)


def test_auto_chooses_by_memory():
    assert AutoPooling()._solver(8_192) == "moment"
    assert AutoPooling()._solver(8_193) == "sgd"
    assert AutoPooling(standardize=False)._solver(9_459) == "moment"
    assert AutoPooling(standardize=False)._solver(9_460) == "sgd"
    assert AutoPooling(solver="moment")._solver(72_900) == "moment"


@pytest.mark.parametrize("solver", ["moment", "sgd"])
@pytest.mark.parametrize("kind", [list, np.float32, torch.as_tensor])
def test_clips_are_their_pairs(frames, solver, kind):
    params = {"solver": solver, "max_epochs": 2, "random_state": 0}
    X, pairs = frames.astype(np.float32), _pairs(frames).astype(np.float32)
    clips = AutoPooling(3, **params).fit(X, groups=GROUPS)
    given = list(pairs) if kind is list else kind(pairs)
    explicit = AutoPooling(3, **params).fit(given)
    assert explicit.objective_ == pytest.approx(clips.objective_, rel=1e-4)
    np.testing.assert_allclose(explicit.components_, clips.components_, atol=0.02)
    pooled = explicit.transform(given)
    assert pooled.shape == (len(pairs), 2, 3)
    np.testing.assert_allclose(pooled[:, 0], explicit.transform(pairs[:, 0]), rtol=1e-5)
    assert explicit.fit_transform(given).shape == pooled.shape


def test_pairs_never_span_clips(frames):
    """The frames of one clip do not affect the differences within another clip."""
    model = AutoPooling(3, random_state=0).fit(frames, groups=GROUPS)
    one_clip = AutoPooling(3, random_state=0).fit(frames)
    assert model._state["n_pairs"] == len(frames) - len(CLIPS)
    assert one_clip._state["n_pairs"] == len(frames) - 1
    assert one_clip._state["change"].trace() > model._state["change"].trace()


@pytest.mark.parametrize("cuts", [[10], [0, 30], [31, 32, 33], [15, 40, 41, 99]])
@pytest.mark.parametrize("cross", [False, True])
def test_partial_fit_is_fit_of_all(frames, cuts, cross):
    """The data is split between clips, or within them."""
    params = {"cross_reconstruction": cross, "random_state": 0}
    whole = AutoPooling(3, **params).fit(frames, groups=GROUPS)
    model = AutoPooling(3, **params)
    for start, stop in itertools.pairwise([0, *cuts, len(frames)]):
        if stop > start:
            model.partial_fit(frames[start:stop], groups=GROUPS[start:stop])
    assert model._state["n_pairs"] == whole._state["n_pairs"]
    for name in ("shift", "total", "change", *(["first"] if cross else [])):
        assert_close(model._state[name], whole._state[name], rtol=1e-9)
    expected = _errors(_standardised(_pairs(frames)), model.components_, cross)
    np.testing.assert_allclose([model.invariance_error_, model.reconstruction_error_], expected)
    assert_close(model.mean_, whole.mean_)
    assert_close(model.scale_, whole.scale_)


def test_partial_fit_without_groups_starts_a_clip(frames):
    model = AutoPooling(3, random_state=0).partial_fit(frames[:10]).partial_fit(frames[10:30])
    assert model._state["n_pairs"] == 9 + 19
    before = model.components_
    model.partial_fit(frames[30:31])  # one frame: no pair, nothing to learn
    np.testing.assert_array_equal(model.components_, before)
    again = AutoPooling(3, random_state=0).fit(frames[:10]).partial_fit(frames[10:30])  # fit keeps its moments too
    assert_close(again.components_, before, rtol=1e-3)


def test_partial_fit_cannot_change_what_it_sums(frames):
    model = AutoPooling(3, random_state=0).fit(frames)
    with pytest.raises(ValueError, match="cross_reconstruction=True cannot continue"):
        model.set_params(cross_reconstruction=True).partial_fit(frames)
    model.set_params(cross_reconstruction=False)
    with pytest.raises(ValueError, match=r"standardize=True cannot continue a fit with False\. Set standardize=False"):
        clone(model).set_params(standardize=False).fit(frames).set_params(standardize=True).partial_fit(frames)
    model.set_params(n_components=4)
    with pytest.raises(ValueError, match="n_components=4 of 12 features do not match"):
        model.partial_fit(frames)
    assert model.components_.shape == (3, 12)


def test_warm_start(frames):
    model = AutoPooling(3, warm_start=True, random_state=0).fit(frames)
    assert model.n_iter_ > 5
    before = model.components_
    model.fit(frames)
    assert model.n_iter_ == 0  # it is there already
    assert_close(model.components_, before)
    model.set_params(invariance=2.1).fit(frames)
    cold = AutoPooling(3, invariance=2.1, random_state=0).fit(frames)
    assert 0 < model.n_iter_ < cold.n_iter_
    with pytest.raises(ValueError, match="warm_start=False"):
        model.fit(frames[:, :5])


@pytest.mark.parametrize("size", [1e-12, 1e12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_units_do_not_matter(frames, size, dtype, solver):
    params = {"solver": solver, "max_epochs": 3, "random_state": 0, "max_iter": 20, "tol": 0.0, "standardize": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain = AutoPooling(3, **params).fit(frames.astype(dtype), groups=GROUPS)
        scaled = AutoPooling(3, **params).fit((frames * size).astype(dtype), groups=GROUPS)
    np.testing.assert_allclose(scaled.components_, plain.components_, atol=1e-4)
    assert scaled.objective_ == pytest.approx(plain.objective_ * size**2, rel=1e-3)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_chunks_do_not_matter(frames, chunk_size):
    plain = AutoPooling(3, random_state=0).fit(frames, groups=GROUPS)
    cut = AutoPooling(3, random_state=0, chunk_size=chunk_size).fit(frames, groups=GROUPS)
    assert cut.objective_ == pytest.approx(plain.objective_, rel=1e-9)
    np.testing.assert_allclose(cut.transform(frames), plain.transform(frames), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("solver", ["moment", "sgd"])
class TestDegenerate:
    def _fit(self, X, solver, **params):
        model = AutoPooling(solver=solver, random_state=0, max_epochs=3, **{"n_components": 2} | params).fit(X)
        assert np.isfinite(model.components_).all()
        assert np.isfinite([model.objective_, *(row["objective"] for row in model.history_)]).all()
        assert (model.components_ >= 0).all()
        return model

    def test_zero_features(self, solver):
        assert self._fit(np.zeros((5, 3)), solver, standardize=False).objective_ == 0

    def test_constant_features(self, solver):
        with pytest.warns(ConvergenceWarning, match="all features are constant"):
            model = self._fit(np.full((5, 3), 2.0), solver)
        assert not model.components_.any()

    def test_some_zero_features(self, frames, solver):
        X = np.pad(frames, ((0, 0), (0, 2)))
        assert self._fit(X, solver).transform(X).shape == (100, 2)

    def test_static_video(self, frames, solver):
        model = self._fit(np.repeat(frames[:1], 20, 0), solver, invariance=1e6, standardize=False)
        assert model.invariance_error_ == pytest.approx(0, abs=1e-12)

    def test_one_pair(self, frames, solver):
        self._fit(frames[:2], solver)

    def test_an_odd_number_of_frames(self, frames, solver):
        """Frames are not read as separate pairs: each frame but the last has a successor."""
        model = self._fit(frames[:5], solver)
        expected = _errors(_standardised(_pairs(frames[:5], np.zeros(5))), model.components_)
        np.testing.assert_allclose([model.invariance_error_, model.reconstruction_error_], expected)

    @pytest.mark.parametrize("invariance", [0.0, 1e6, 1e12])
    @pytest.mark.filterwarnings("ignore:.*components are almost 0")
    def test_extreme_invariance(self, frames, solver, invariance):
        self._fit(frames, solver, invariance=invariance)

    def test_more_components_than_features(self, frames, solver):
        self._fit(frames, solver, n_components=20)


def test_as_many_components_as_features_lose_nothing(frames):
    model = AutoPooling(24, invariance=0.0, random_state=0, max_iter=20_000, tol=1e-6).fit(frames)
    energy = (frames**2).sum(1).mean()
    assert model.reconstruction_error_ < 1e-3 * energy


@pytest.mark.parametrize(
    ("change", "groups", "message"),
    [
        (lambda X: X - 1, GROUPS, "Negative values .* row 0 has -0.9"),
        (lambda X: np.where(np.arange(12) == 3, np.nan, X), GROUPS, "NaN"),
        (lambda X: X[:1], None, "no pair of consecutive frames .* n_samples=1"),
        (lambda X: X, np.arange(100), "no pair of consecutive frames"),
        (lambda X: X, np.arange(100) % 2, "clip 0 begins in row 0 and comes back in row 2"),
        (lambda X: X, np.arange(99), "99 clip ids for 100 frames"),
        (lambda X: np.stack([X, X, X], 1), None, r"\(n, 2, ...\), got \(100, 3, 12\)"),
        (lambda X: np.stack([X, -X], 1), None, "Negative values .* pair 0"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_bad_input_leaves_the_model(frames, change, groups, message, kind):
    model = AutoPooling(2, random_state=0).fit(frames)
    before = model.components_
    with pytest.raises(ValueError, match=message):
        model.fit(kind(change(frames)), groups=groups)
    np.testing.assert_array_equal(model.components_, before)
    assert model.n_features_in_ == 12


def test_bad_input_of_transform(frames):
    model = AutoPooling(2, random_state=0).fit(frames)
    with pytest.raises(ValueError, match="Negative values"):
        model.transform(-frames)
    with pytest.raises(ValueError, match=r"shape \(n, 2\) or \(n_pairs, 2, 2\), got \(100, 12\)"):
        model.inverse_transform(frames)
    with pytest.raises(ValueError, match=r"shape \(n, 2\) or \(n_pairs, 2, 2\), got \(0, 2\)"):
        model.inverse_transform(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="NaN"):
        model.inverse_transform([[np.nan, 1]])


@pytest.mark.parametrize("solver", ["moment", "sgd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_in_and_out(frames, device, solver, dtype):
    X = torch.as_tensor(frames, dtype=dtype, device=device)
    params = {"solver": solver, "max_epochs": 3, "random_state": 0}
    model = AutoPooling(3, **params).fit(X, groups=torch.as_tensor(GROUPS))
    pooled = model.transform(X)
    assert (pooled.dtype, pooled.device) == (dtype, X.device)
    assert model.inverse_transform(pooled).device == X.device
    assert model.components_.dtype == (np.float32 if dtype == torch.float32 else np.float64)
    plain = AutoPooling(3, device="cpu", **params).fit(X.cpu().numpy(), groups=GROUPS)
    assert model.objective_ == pytest.approx(plain.objective_, rel=1e-3)


def test_integers_compute_in_float32(frames):
    counts = (frames * 100).astype(np.uint8)
    model = AutoPooling(3, random_state=0).fit(counts)
    assert model.transform(counts).dtype == model.components_.dtype == np.float32


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_seed_clone_pickle_save(frames, tmp_path, solver):
    model = AutoPooling(3, solver=solver, max_epochs=3, random_state=0).fit(
        frames, groups=[f"clip {g}" for g in GROUPS]
    )
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = clone(model).fit(frames, groups=GROUPS)
    assert_close(again.components_, model.components_, rtol=1e-3)
    other = clone(model).set_params(random_state=1).fit(frames, groups=GROUPS)
    assert not np.allclose(other.components_, model.components_, rtol=0.1)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    sklinvariant.save(model, tmp_path / "model")
    for copy in (sklinvariant.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.transform(frames), model.transform(frames))
        assert copy.history_ == model.history_
        more = frames[-3:], ["clip 4"] * 3  # it goes on from where the saved one was, in the same clip
        copy.partial_fit(more[0], groups=more[1])
        expected = pickle.loads(pickle.dumps(model)).partial_fit(more[0], groups=more[1])
        assert_close(copy.components_, expected.components_, rtol=1e-3)


def test_clips_through_pipeline_and_grid_search(frames):
    def small(model, X, y=None):
        return -float(np.square(np.diff(model.transform(X), axis=0)).mean())

    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(MinMaxScaler(clip=True), AutoPooling(3, random_state=0).set_fit_request(groups=True))
        pipeline.fit(frames, groups=GROUPS)
        expected = AutoPooling(3, random_state=0).fit(MinMaxScaler().fit_transform(frames), groups=GROUPS)
        np.testing.assert_allclose(pipeline[-1].components_, expected.components_, rtol=1e-6, atol=1e-9)
        folds = GroupKFold(3)
        result = cross_validate(
            pipeline, frames, cv=folds, params={"groups": GROUPS}, scoring=small, return_estimator=True
        )
        for fitted, (train, _) in zip(result["estimator"], folds.split(frames, groups=GROUPS), strict=True):
            assert fitted[-1]._state["n_pairs"] == len(train) - len(np.unique(GROUPS[train]))
        search = GridSearchCV(pipeline, {"autopooling__invariance": [0.1, 100.0]}, cv=folds, scoring=small)
        search.fit(frames, groups=GROUPS)
        assert search.best_params_ == {"autopooling__invariance": 100.0}


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_callbacks_see_and_stop_iterations(frames, solver):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

    def see(model, X, y):
        assert model.transform(X).shape == (100, 3)
        return model.objective_

    recorder = StopsAfter(4, see)
    model = AutoPooling(3, solver=solver, random_state=0).set_callbacks(recorder).fit(frames)
    assert model.n_iter_ == len(recorder.seen) == 4
    assert recorder.seen[-1] == pytest.approx(model.objective_)
    assert model.objective_ < recorder.seen[0]


def test_an_invariance_that_leaves_nothing_is_named(global_random_seed):
    """Frames that are unrelated to the next frame."""
    X = np.abs(np.random.RandomState(global_random_seed).normal(size=(50, 4)))
    X[::2, :2], X[1::2, 2:] = 0, 0
    with pytest.warns(ConvergenceWarning, match=r"all components are almost 0. Lower invariance"):
        model = AutoPooling(2, invariance=100.0, standardize=False, random_state=0).fit(X, groups=np.zeros(50))
    assert np.square(model.components_).sum() < 1e-4
    assert model.objective_ == pytest.approx((X[:-1] ** 2 + X[1:] ** 2).sum(1).mean() / 2, rel=1e-3)


@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_verbose_draws_a_bar(frames, terminal, capsys, solver):
    AutoPooling(2, solver=solver, max_epochs=2, verbose=1, random_state=0).fit(frames)
    assert "AutoPooling" in capsys.readouterr().err


@pytest.mark.parametrize("solver", ["moment", "sgd"])
@pytest.mark.parametrize(
    "clips",
    [
        np.array(["2026-01-01", "2026-01-02"], "datetime64[D]"),
        np.array([b"a", b"b"]),
        np.array([None, 2**70], dtype=object),
    ],
)
def test_clip_ids_of_any_kind_can_be_saved(frames, tmp_path, clips, solver):
    params = {"solver": solver, "max_epochs": 2, "random_state": 0}
    groups = np.repeat(clips, 50)
    model = AutoPooling(3, **params).fit(frames, groups=groups)
    sklinvariant.save(model, tmp_path / "model")
    copy = sklinvariant.load(tmp_path / "model").partial_fit(frames[:1], groups=groups[-1:])
    assert_close(copy.components_, model.partial_fit(frames[:1], groups=groups[-1:]).components_, rtol=1e-3)
    assert copy.n_iter_ > 0
    assert solver == "sgd" or copy._state["n_pairs"] == 98 + 1  # the clip went on


def test_pairs_are_rebuilt_as_pairs():
    pairs = np.random.RandomState(0).rand(30, 2, 8)
    pooling = AutoPooling(3, random_state=0).fit(pairs)
    pooled = pooling.transform(pairs)
    expected = pooling.inverse_transform(pooled.reshape(60, 3)).reshape(pairs.shape)
    assert_close(pooling.inverse_transform(pooled), expected)
    with pytest.raises(ValueError, match=r"pooled features must be of shape \(n, 3\) or \(n_pairs, 2, 3\)"):
        pooling.inverse_transform(pooled[:, :1])


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_a_table_of_pairs_is_refused(frames, container):
    pytest.importorskip(container)
    pairs = _pairs(frames)
    model = AutoPooling(2, random_state=0).fit(pairs).set_output(transform=container)
    with pytest.raises(ValueError, match=r"pairs .* table cannot hold.*reshape.*set_output\(transform=\"default\"\)"):
        model.transform(pairs)
    assert model.transform(pairs.reshape(-1, 12)).shape == (2 * len(pairs), 2)
    assert model.set_output(transform="default").transform(pairs).shape == (len(pairs), 2, 2)
