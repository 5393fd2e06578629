"""The invariance score against loops over pairs, its invariances, and its use in a parameter search."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from sklearn import clone, config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklinvariant.metrics import invariance_score, make_invariance_scorer


@pytest.fixture
def pairs(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    scenes = rng.gamma(1, size=(40, 1, 6))
    return scenes + 0.3 * rng.gamma(1, size=(40, 2, 6))


def as_printed(pairs, permutation):
    """Equation 1 in loops."""
    n = len(pairs)
    G = sum(np.sqrt(((pairs[i, 0] - pairs[i, 1]) ** 2).sum()) for i in range(n)) / n
    H = sum(np.sqrt(((pairs[i, 0] - pairs[permutation[i], 1]) ** 2).sum()) for i in range(n)) / n
    return H / G


def test_is_equation_1(pairs):
    got = invariance_score(pairs, n_permutations=1, random_state=3)
    assert got == pytest.approx(as_printed(pairs, np.random.RandomState(3).permutation(40)))
    assert isinstance(got, float)
    several = invariance_score(pairs, n_permutations=4, random_state=3)
    rng = np.random.RandomState(3)
    assert several == pytest.approx(np.mean([as_printed(pairs, rng.permutation(40)) for _ in range(4)]))


def test_all_is_the_mean_over_all_permutations(pairs):
    few = pairs[:5]
    expected = np.mean([as_printed(few, sigma) for sigma in itertools.permutations(range(5))])
    assert invariance_score(few, n_permutations="all") == pytest.approx(expected)
    assert invariance_score(few) == pytest.approx(expected)
    for j, score in enumerate(invariance_score(few, per_feature=True)):
        single = few[:, :, j : j + 1]
        assert score == pytest.approx(np.mean([as_printed(single, s) for s in itertools.permutations(range(5))]))
        assert score == pytest.approx(invariance_score(single))


def test_sampled_per_feature(pairs):
    got = invariance_score(pairs, per_feature=True, n_permutations=2, random_state=0)
    expected = [invariance_score(pairs[:, :, [j]], n_permutations=2, random_state=0) for j in range(6)]
    np.testing.assert_allclose(got, expected)


def test_many_pairs_are_sampled_and_come_near_to_all(pairs):
    many = np.concatenate([pairs + 0.1 * np.random.RandomState(i).rand(*pairs.shape) for i in range(60)])
    scores = [invariance_score(many, random_state=seed) for seed in (0, 0, 1)]
    assert scores[0] == pytest.approx(scores[1])
    assert abs(scores[0] - scores[2]) > 1e-6
    assert scores[0] == pytest.approx(invariance_score(many, n_permutations="all"), rel=0.05)


@pytest.mark.parametrize("per_feature", [False, True])
@pytest.mark.parametrize("n_permutations", [1, "all"])
def test_scale_offset_and_container_do_not_matter(pairs, per_feature, n_permutations):
    options = {"per_feature": per_feature, "n_permutations": n_permutations, "random_state": 0}
    expected = invariance_score(pairs, **options)
    scale = 2.0 ** np.arange(6) if per_feature else 1
    for same in (pairs * 1e300, pairs * 1e-300, -pairs, pairs * scale + 100, torch.from_numpy(pairs), pairs.tolist()):
        np.testing.assert_allclose(invariance_score(same, **options), expected, rtol=1e-9)
    np.testing.assert_allclose(invariance_score(pairs.astype(np.float32) * 1e30, **options), expected, rtol=1e-5)
    spread = np.concatenate([pairs, np.full((40, 2, 1), 1e200)], axis=2)  # constant, and huge
    got = invariance_score(spread, **options)
    np.testing.assert_allclose(got[:6] if per_feature else got, expected, rtol=1e-9)
    swapped = {**options, "n_permutations": "all"}
    np.testing.assert_allclose(invariance_score(pairs[:, ::-1], **swapped), invariance_score(pairs, **swapped))


def test_larger_is_more_invariant(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    scenes, noise = rng.normal(size=(2, 300, 1, 10)), rng.normal(size=(300, 2, 10))
    scores = [invariance_score(scenes[0] + sigma * noise) for sigma in (0.1, 0.5, 1, 2)]
    assert scores == sorted(scores, reverse=True)
    assert invariance_score(noise) == pytest.approx(1, abs=0.05)


def test_features_that_do_not_change(pairs):
    pairs[:, :, 1] = 0
    pairs[:, :, 2] = 0.1 + 1e9
    pairs[:, 1, 3] = pairs[:, 0, 3]
    score = invariance_score(pairs, per_feature=True)
    assert score[[1, 2]].tolist() == [1, 1]
    assert score[3] == np.inf
    assert np.isfinite(score[[0, 4, 5]]).all()
    for n_permutations in (1, "all"):
        assert invariance_score(np.full((9, 2, 3), 0.1), n_permutations=n_permutations) == 1
    assert invariance_score(pairs[:, :, [3, 3]]) == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": np.zeros((4, 2))}, "at least 2 pairs"),
        ({"pairs": np.zeros((4, 3, 5))}, "at least 2 pairs"),
        ({"pairs": np.zeros((1, 2, 5))}, "at least 2 pairs"),
        ({"pairs": np.zeros((4, 2, 0))}, "at least 2 pairs"),
        ({"pairs": np.array([[["a"], ["b"]]] * 2)}, "real numbers"),
        ({"pairs": np.array([[[0], [0]], [[0], [np.nan]]])}, "pair 1 contains NaN"),
        ({"n_permutations": 0}, "n_permutations"),
        ({"n_permutations": "some"}, "n_permutations"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        invariance_score(**{"pairs": np.zeros((3, 2, 2)), **change})


class Weighted(TransformerMixin, BaseEstimator):
    """Returns features and noise of scale ``weight``. `fit` reads pairs, or frames and their clips."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def fit(self, X, y=None, groups=None):
        self.n_clips_ = None if groups is None else len(set(groups))
        return self

    def transform(self, X):
        half = X.shape[1] // 2
        return np.tanh(X[:, :half] + self.weight * X[:, half:])


@pytest.fixture
def video(global_random_seed):
    """120 frames of 12 clips: 4 features that change slowly and differ between clips, followed by noise."""
    rng = np.random.RandomState(global_random_seed)
    clips = np.repeat(np.arange(12), 10)
    slow = rng.normal(size=(12, 4))[clips] + np.tile(rng.normal(size=(12, 4)), (10, 1)) * 0.1
    return np.hstack([slow + 0.3 * (noise := rng.normal(size=(120, 4))), noise]), clips


GRID = {"weight": [0.6, 0.0, -0.3]}  # the last takes the noise away


def test_search_over_clips_with_pairs_as_samples(video):
    frames, clips = video
    inside = np.flatnonzero(clips[1:] == clips[:-1])
    pairs, groups = np.stack([frames[inside], frames[inside + 1]], axis=1), clips[inside]
    scorer = make_invariance_scorer()
    for routing in (False, True):
        with config_context(enable_metadata_routing=routing):
            model = Weighted().set_fit_request(groups=False) if routing else Weighted()
            search = GridSearchCV(model, GRID, scoring=scorer, cv=GroupKFold(3)).fit(pairs, groups=groups)
        assert search.best_params_ == {"weight": -0.3}
        test = next(iter(GroupKFold(3).split(pairs, groups=groups)))[1]
        features = np.stack([Weighted(0.0).transform(side) for side in (pairs[test, 0], pairs[test, 1])], axis=1)
        assert search.cv_results_["split0_test_score"][1] == pytest.approx(invariance_score(features))


def test_search_over_clips_with_frames_and_routed_groups(video):
    frames, clips = video
    with config_context(enable_metadata_routing=True):
        model = make_pipeline(StandardScaler(), Weighted().set_fit_request(groups=True))
        grid = {f"weighted__{name}": values for name, values in GRID.items()}
        scorer = make_invariance_scorer()
        search = GridSearchCV(model, grid, scoring=scorer, cv=GroupKFold(3)).fit(frames, groups=clips)
        assert search.best_estimator_[-1].n_clips_ == 12
        scores = search.cv_results_["mean_test_score"]
        assert search.best_index_ == 2
        assert (np.diff(scores) > 0).all()
        train, test = next(iter(GroupKFold(3).split(frames, groups=clips)))
        features = clone(model).set_params(weighted__weight=0.0).fit(frames[train], groups=clips[train])
        features = features.transform(frames[test]).reshape(-1, 10, 4)  # clips of 10 frames
        expected = np.concatenate([np.stack([clip[:-1], clip[1:]], axis=1) for clip in features])
        assert search.cv_results_["split0_test_score"][1] == pytest.approx(invariance_score(expected))


def test_scorer_of_frames_needs_clips(video):
    frames, clips = video
    scorer, model = make_invariance_scorer(), FunctionTransformer().fit(frames)
    with pytest.raises(ValueError, match="groups is None"):
        scorer(model, frames)
    with pytest.raises(ValueError, match="5 clip ids for 120 frames"):
        scorer(model, frames, groups=clips[:5])
    with pytest.raises(ValueError, match="groups contains no two consecutive frames of a clip"):
        scorer(model, frames, groups=np.arange(120))
    with pytest.raises(ValueError, match="clip 0 begins in row 0 and comes back in row 4"):
        scorer(model, frames, groups=np.arange(120) // 2 % 2)  # shuffled rows are no neighbours in time
    with pytest.raises(ValueError, match="nan instead of a clip id in row 0"):
        scorer(model, frames, groups=np.full(120, np.nan))
    assert scorer(model, frames, groups=clips) > 1


def test_scorer_takes_pairs_of_images_and_tensors(video):
    images = np.random.RandomState(0).rand(30, 2, 5, 4, 3)
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1)).fit(images[0])
    scorer = pickle.loads(pickle.dumps(make_invariance_scorer(n_permutations=2, random_state=4)))
    expected = invariance_score(images, n_permutations=2, random_state=4)
    assert scorer(flatten, images) == pytest.approx(expected)
    assert scorer(flatten, torch.from_numpy(images)) == pytest.approx(expected)
    assert repr(scorer) == "make_invariance_scorer(n_permutations=2, random_state=4)"
    scores = cross_val_score(flatten, images, scoring=scorer, cv=3, n_jobs=2)
    assert scores.shape == (3,)
