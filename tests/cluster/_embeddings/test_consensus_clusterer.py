"""ConsensusClusterer: spectral clustering against dense matrices, votes, new rows, bad input."""

import warnings

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, make_blobs, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from tolerance import assert_close, assert_same_labels

from sklinvariant import ConsensusClusterer, TEMIClusterer, load, save
from sklinvariant.cluster._embeddings._consensus_clusterer import (
    common_rows,
    leading_rows,
    places_of,
    stabilities,
    votes_of,
)
from sklinvariant.metrics import clustering_accuracy

SIZES = [3, 4, 2]


@pytest.fixture
def labels(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return np.stack([rng.randint(size, size=40) for size in SIZES], 1)


def one_hots(labels):
    return np.hstack([np.eye(size)[column] for size, column in zip(SIZES, labels.T, strict=True)])


def spectral_features(*arguments):
    return normalize(leading_rows(*arguments))


def test_common_rows_are_those_of_one_hots(labels):
    weights = np.arange(1.0, 41)
    expected = one_hots(labels).T @ (weights[:, None] * one_hots(labels))
    assert_close(common_rows(places_of(labels, SIZES), 9, weights), expected)


def test_features_are_those_of_the_co_association_of_all_rows(labels):
    together = (labels[:, None] == labels[None]).mean(2)
    degrees = together.sum(1)
    values, vectors = np.linalg.eigh(together / np.sqrt(degrees[:, None] * degrees))
    expected = (vectors * np.sqrt(values.clip(0)))[:, -4:]  # singular vectors of one-hots, times singular values
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = spectral_features(places_of(labels, SIZES), 9, 4, np.ones(40))
    assert_close(found @ found.T, expected @ expected.T, atol=1e-8)


def test_weights_stand_for_repeated_rows(labels):
    weights = np.arange(40) % 3 + 1
    repeated = spectral_features(places_of(labels.repeat(weights, 0), SIZES), 9, 3, np.ones(weights.sum()))
    once = spectral_features(places_of(labels, SIZES), 9, 3, weights.astype(float))
    assert_close(np.abs(repeated @ repeated.T), np.abs(once @ once.T).repeat(weights, 0).repeat(weights, 1), atol=1e-8)


def test_votes_by_loops(labels):
    clusters = np.random.RandomState(0).randint(2, size=40)
    votes = votes_of(labels, SIZES, clusters, 2)
    for run, (start, size) in enumerate(zip(np.cumsum([0, *SIZES[:-1]]), SIZES, strict=True)):
        for cluster in range(size):
            inside = clusters[labels[:, run] == cluster]
            assert_close(votes[start + cluster], np.bincount(inside, minlength=2) / len(inside))


def test_a_cluster_without_rows_has_no_preference():
    votes = votes_of(np.zeros((3, 1), int), [2], np.array([0, 0, 1]), 2)
    assert_close(votes, [[2 / 3, 1 / 3], [0.5, 0.5]])


def test_moons_from_small_clusters(global_random_seed):
    """The consensus of clusters of k-means has shapes that k-means itself cannot find."""
    X, y = make_moons(600, noise=0.05, random_state=global_random_seed)
    model = ConsensusClusterer(KMeans(20, n_init=1), 2, n_runs=30, random_state=0).fit(X)
    alone = adjusted_rand_score(y, KMeans(2, n_init=5, random_state=0).fit_predict(X))
    assert adjusted_rand_score(y, model.labels_) > 0.8 > alone


def test_clusters_of_new_rows(blobs):
    X, y = blobs
    model = ConsensusClusterer([KMeans(4, n_init=1), GaussianMixture(3)], 3, random_state=0).fit(X[:60])
    assert len(model.estimators_) == 10
    assert adjusted_rand_score(y[60:], model.predict(X[60:])) > 0.9
    probabilities = model.predict_proba(X)
    assert_close(probabilities.sum(1), np.ones(len(X)))
    assert_same_labels(model.predict(X[:60]), model.labels_, probabilities[:60])
    assert_close(model.agreement_, probabilities[:60].max(1).mean())


def test_runs_that_agree(blobs):
    X, _ = blobs
    fitted = KMeans(3, n_init=5, random_state=0).fit(X)
    model = ConsensusClusterer(FrozenEstimator(fitted), 3, n_runs=2, random_state=0).fit(X)
    assert adjusted_rand_score(fitted.labels_, model.labels_) == 1
    assert model.agreement_ == 1


def test_the_default_is_TEMI(tmp_path):
    X, y = load_digits(n_class=4, return_X_y=True)
    model = ConsensusClusterer(n_clusters=4, n_runs=2, random_state=0).fit(X)
    assert clustering_accuracy(y, model.labels_) > 0.8
    assert all(isinstance(run, TEMIClusterer) for run in model.estimators_)
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(X), model.predict_proba(X))


def columns(*names):
    return ColumnTransformer([("space", "passthrough", list(names))])


def test_runs_in_different_spaces():
    """Each half of the columns separates one of three clusters from the others."""
    rng, y = np.random.RandomState(0), np.arange(150) % 3
    X = 0.1 * rng.normal(size=(150, 4))
    X[:, :2] += (y == 0)[:, None]
    X[:, 2:] += (y == 1)[:, None]
    runs = [make_pipeline(columns(*names), KMeans(2, n_init=1)) for names in ([0, 1], [2, 3])]
    assert adjusted_rand_score(y, ConsensusClusterer(runs, 3, random_state=0).fit(X).labels_) == 1


def test_the_steps_of_a_pipeline_are_seeded(global_random_seed):
    noise = np.random.RandomState(global_random_seed).normal(size=(100, 4))
    runs = make_pipeline(columns(0, 1, 2), KMeans(8, n_init=1))
    first, second = (ConsensusClusterer(runs, 4, n_runs=3, random_state=0).fit(noise) for _ in range(2))
    seeds = [run[-1].random_state for run in first.estimators_]
    assert len(set(seeds)) == 3
    assert seeds == [run[-1].random_state for run in second.estimators_]
    np.testing.assert_array_equal(first.labels_, second.labels_)


@pytest.mark.parametrize("estimator", [[], [KMeans(2), DBSCAN()], [3]])
def test_bad_estimators(estimator, blobs):
    with pytest.raises(ValueError, match="should be a clusterer with fit and predict"):
        ConsensusClusterer(estimator, 2).fit(blobs[0])


def test_fewer_rows_than_clusters(blobs):
    with pytest.raises(ValueError, match="n_samples=3 should be >= 4 with n_clusters=4"):
        ConsensusClusterer(KMeans(2), 4).fit(blobs[0][:3])


@pytest.mark.parametrize("k", [3, 6])
def test_the_number_of_separate_clusters_is_found(k, global_random_seed):
    centers = 12 * np.eye(6)[:k]
    X, y = make_blobs(50 * k, centers=centers, random_state=global_random_seed)
    model = ConsensusClusterer(KMeans(15, n_init=1), "auto", n_runs=30, max_clusters=9, random_state=0).fit(X)
    assert model.n_clusters_ == k
    assert model.stability_[k - 2] == model.stability_.max()
    assert model.stability_.shape == (8,)
    assert adjusted_rand_score(y, model.labels_) == 1
    assert model.predict_proba(X).shape == (50 * k, k)


def test_the_number_of_clusters_of_different_sizes_is_found(global_random_seed):
    y = np.repeat([0, 1, 2], [300, 100, 50])
    X = 10 * np.eye(5)[y] + np.random.RandomState(global_random_seed).normal(size=(450, 5))
    model = ConsensusClusterer(KMeans(12, n_init=1), "auto", n_runs=30, max_clusters=6, random_state=0).fit(X)
    assert model.n_clusters_ == 3
    assert adjusted_rand_score(y, model.labels_) == 1


def test_a_consensus_of_fewer_clusters_is_not_stable(labels):
    same = labels[:, [1, 1, 1, 1]]
    assert_close(stabilities(same, [4] * 4, [5], np.random.RandomState(0)), [0.0])


def test_equal_runs_are_stable(labels):
    """If all runs are the same clustering, both halves agree on it."""
    same = labels[:, [1, 1, 1, 1]]
    assert_close(stabilities(same, [4] * 4, [4], np.random.RandomState(0)), [1.0])


def test_auto_needs_several_runs(blobs):
    with pytest.raises(ValueError, match="Set n_runs to at least 4"):
        ConsensusClusterer(KMeans(4, n_init=1), "auto", n_runs=3).fit(blobs[0])


def test_empty_clusters_are_reported(blobs):
    model = ConsensusClusterer(KMeans(3, n_init=5), 5, random_state=0)
    with pytest.warns(ConvergenceWarning, match="2 of 5 clusters are empty"):
        model.fit(blobs[0])
    assert len(np.unique(model.labels_)) == 3


def test_an_uncertain_number_of_clusters_is_reported(global_random_seed):
    noise = np.random.RandomState(global_random_seed).normal(size=(300, 30))
    model = ConsensusClusterer(KMeans(9, n_init=1), "auto", n_runs=8, max_clusters=6, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"the halves of the runs agree by only -?0\."):
        model.fit(noise)
    assert model.stability_.max() < 0.5


def test_runs_with_too_few_clusters_are_reported(blobs):
    with pytest.warns(ConvergenceWarning, match="at most 4 clusters, fewer than max_clusters=9"):
        ConsensusClusterer(KMeans(4, n_init=1), "auto", max_clusters=9, random_state=0).fit(blobs[0])


@pytest.mark.parametrize(("n_clusters", "expected"), [(3, 5), ("auto", 20)])
def test_auto_takes_more_runs(blobs, n_clusters, expected):
    model = ConsensusClusterer(KMeans(6, n_init=1), n_clusters, max_clusters=5, random_state=0).fit(blobs[0])
    assert len(model.estimators_) == expected


def test_clear_clusters_cause_no_warning():
    X, _ = make_blobs(150, centers=12 * np.eye(3), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ConsensusClusterer(KMeans(9, n_init=1), "auto", n_runs=20, max_clusters=5, random_state=0).fit(X)


def test_the_default_finds_clear_clusters_of_few_rows_without_a_warning(global_random_seed):
    X, y = make_blobs(45, centers=10 * np.eye(3, 6), random_state=global_random_seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ConsensusClusterer(None, "auto", n_runs=6, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1


@pytest.mark.parametrize(("k", "rows_per_cluster"), [(3, 15), (5, 15), (2, 40)])
def test_the_number_of_clusters_of_few_rows_is_found(k, rows_per_cluster, global_random_seed):
    n = k * rows_per_cluster
    X, _ = make_blobs(n, centers=10 * np.eye(k, 6), random_state=global_random_seed)
    model = ConsensusClusterer(KMeans(n // 8, n_init=1), "auto", max_clusters=n // 8 - 1, random_state=0)
    assert model.fit(X).n_clusters_ == k


def test_the_default_reports_that_more_clusters_need_more_rows():
    X, _ = make_blobs(40, centers=10 * np.eye(5, 6), random_state=0)
    with pytest.warns(ConvergenceWarning, match="5 is the largest number of clusters that was compared"):
        model = ConsensusClusterer(None, "auto", n_runs=6, random_state=0).fit(X)
    assert len(model.stability_) == 4


def test_kept_runs_with_few_clusters_are_reported():
    X, _ = make_blobs(60, centers=10 * np.eye(6, 8), random_state=0)
    model = ConsensusClusterer(None, 2, n_runs=4, warm_start=True, random_state=0).fit(X)
    with pytest.warns(ConvergenceWarning, match=r"at most 2 clusters, fewer .* Set warm_start=False, or"):
        model.set_params(n_clusters="auto").fit(X)


@pytest.mark.parametrize("n", [20, 40])
def test_runs_of_almost_single_rows_are_reported(n):
    """Such runs agree on one cluster for each row."""
    X, _ = make_blobs(n, centers=10 * np.eye(2, 6), random_state=0)
    model = ConsensusClusterer(KMeans(min(30, n), n_init=1), "auto", random_state=0)
    with pytest.warns(ConvergenceWarning, match=rf"clusters of {n} rows, fewer than 8 rows per cluster"):
        model.fit(X)
    assert model.n_clusters_ <= n // 4


def test_few_rows_get_a_number_of_clusters():
    X = np.random.RandomState(0).normal(size=(5, 3))
    with pytest.warns(ConvergenceWarning) as caught:
        model = ConsensusClusterer(None, "auto", n_runs=4, random_state=0).fit(X)
    assert model.n_clusters_ == 2
    assert any("so 2 is uncertain. Pass more rows, or n_clusters" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("estimator", [KMeans(6, n_init=1), [KMeans(6, n_init=1), GaussianMixture(5)]])
def test_a_warm_start_adds_runs(blobs, estimator):
    X = blobs[0]
    whole = ConsensusClusterer(estimator, 3, n_runs=5, random_state=0).fit(X)
    model = ConsensusClusterer(estimator, 3, n_runs=2, warm_start=True, random_state=0).fit(X)
    kept = model.estimators_
    model.set_params(n_runs=5).fit(X)
    assert all(run is earlier for run, earlier in zip(model.estimators_, kept, strict=False))
    assert_close(model.predict_proba(X), whole.predict_proba(X))
    np.testing.assert_array_equal(model.labels_, whole.labels_)
    assert all(run not in kept for run in model.set_params(warm_start=False).fit(X).estimators_)


def test_a_warm_start_with_another_number_of_clusters_or_other_rows(blobs):
    X = blobs[0]
    model = ConsensusClusterer(KMeans(6, n_init=1), 3, warm_start=True, random_state=0).fit(X)
    runs = model.estimators_
    assert model.set_params(n_clusters=2).fit(X).predict_proba(X).shape == (len(X), 2)
    assert model.fit(X[:50]).labels_.shape == (50,)
    assert all(run is earlier for run, earlier in zip(model.estimators_, runs, strict=True))
    with pytest.raises(ValueError, match="keeps the 5 runs of the previous fit, but n_runs=4 asks for 4"):
        model.set_params(n_runs=4).fit(X)
    with pytest.raises(ValueError, match=r"previous fit to 4 features, but X has 1\. .* or set warm_start=False"):
        model.set_params(n_runs=5).fit(X[:, :1])
    assert model.predict(X[:50]).tolist() == model.labels_.tolist()


@pytest.mark.parametrize("estimators", [1, 3])
def test_a_warm_start_keeps_all_runs_if_their_number_is_not_given(blobs, estimators):
    X, bases = blobs[0], [KMeans(6, n_init=1)] * estimators
    model = ConsensusClusterer(bases, "auto", max_clusters=5, warm_start=True, random_state=0).fit(X)
    runs = model.estimators_
    assert len(runs) == 20 * estimators
    for params in ({"n_clusters": 3}, {"n_clusters": "auto"}, {"estimator": bases[0]}):
        assert model.set_params(**params).fit(X).estimators_ == runs


def test_a_warm_start_adds_runs_to_find_the_number_of_clusters(blobs):
    model = ConsensusClusterer(KMeans(6, n_init=1), 3, max_clusters=5, warm_start=True, random_state=0).fit(blobs[0])
    runs = model.estimators_
    assert (len(runs), model.set_params(n_clusters="auto").fit(blobs[0]).estimators_[:5]) == (5, runs)
    assert len(model.estimators_) == 20
