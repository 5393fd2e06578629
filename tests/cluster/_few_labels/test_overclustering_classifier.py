"""Classes out of clusters: against the map made by hand, over many clusterers, with labels of all kinds."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.cluster import Birch, BisectingKMeans, KMeans, MeanShift, MiniBatchKMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tolerance import assert_close, assert_same_labels

from sklinvariant.cluster import OverclusteringClassifier
from sklinvariant.cluster._few_labels import _overclustering_classifier
from sklinvariant.metrics import make_clustering_scorer, many_to_one_accuracy, match_clusters


@pytest.fixture
def blobs(global_random_seed):
    """9 blobs, three of each class, and their classes of which most are hidden."""
    centers = np.array([[i, j] for i in (0, 10, 20) for j in (0, 10, 20)], float)
    X, blob = make_blobs(270, centers=centers, cluster_std=0.5, random_state=global_random_seed)
    y = blob // 3
    few = np.where(np.random.RandomState(global_random_seed).rand(270) < 0.3, y, -1)
    return X, y, few


CLUSTERERS = [
    KMeans(9, n_init=10, random_state=0),
    MiniBatchKMeans(12, n_init=10, random_state=0),
    BisectingKMeans(12, random_state=0),
    Birch(threshold=1.0, n_clusters=9),
    MeanShift(bandwidth=2.0),
    GaussianMixture(9, n_init=5, random_state=0),
    BayesianGaussianMixture(n_components=12, max_iter=500, random_state=0),
    make_pipeline(StandardScaler(), KMeans(9, n_init=10, random_state=0)),
    make_pipeline(StandardScaler(), GaussianMixture(9, n_init=5, random_state=0)),
]


@pytest.mark.parametrize("clusterer", CLUSTERERS, ids=lambda c: type(c).__name__)
def test_any_clusterer(clusterer, blobs):
    X, y, few = blobs
    model = OverclusteringClassifier(clusterer).fit(X, few)
    assert model.score(X, y) > 0.99
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert_same_labels(model.predict(X), model.classes_[proba.argmax(1)], proba)
    assert model.cluster_counts_.sum() == (few >= 0).sum()
    assert model.n_features_in_ == 2
    frozen = OverclusteringClassifier(FrozenEstimator(clone(clusterer).fit(X))).fit(X, few)
    assert_close(frozen.predict_proba(X), proba, rtol=1e-6)


def test_the_map_is_the_most_frequent_class(global_random_seed):
    X, y = load_digits(return_X_y=True)
    train, test = np.arange(900), np.arange(900, len(y))
    model = OverclusteringClassifier(KMeans(30, random_state=global_random_seed), unlabeled_clusters="prior")
    model.fit(X[train], y[train])
    clusters = np.r_[model.clusterer_.predict(X[train]), model.clusterer_.predict(X[test])]
    expected = match_clusters(y[train], clusters[train], match="many-to-one")
    np.testing.assert_array_equal(model.cluster_classes_, expected)
    np.testing.assert_array_equal(model.predict(X[test]), expected[clusters[test]])
    accuracy = many_to_one_accuracy(y[test], clusters[test], y_true_train=y[train], y_pred_train=clusters[train])
    assert model.score(X[test], y[test]) == pytest.approx(accuracy)
    for c in range(30):
        shares = np.bincount(y[train][clusters[train] == c], minlength=10)
        np.testing.assert_array_equal(model.cluster_counts_[c], shares)
        np.testing.assert_allclose(model.cluster_proba_[c], shares / shares.sum())


def test_doubtful_clusters_are_mixed(blobs):
    X, _, few = blobs
    model = OverclusteringClassifier(GaussianMixture(5, covariance_type="spherical", random_state=0)).fit(X, few)
    of_clusters = model.clusterer_.predict_proba(X)
    expected = sum(of_clusters[:, [c]] * model.cluster_proba_[c] for c in range(5))
    np.testing.assert_allclose(model.predict_proba(X), expected)


class Rounded(ClusterMixin, BaseEstimator):
    """Clusters are the whole numbers that rows of one feature round to: nothing is learned."""

    def fit(self, X, y=None, strength=None):
        assert y is None
        self.strength_ = strength
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return np.round(np.asarray(X)[:, 0]).astype(int)


def test_clusters_without_labels():
    X = np.array([[0.1], [0.2], [0.0], [3.0], [9.0], [8.9], [4.0], [6.9]])
    y = np.array([0, 0, 1, -1, 1, -1, -1, -1])
    model = OverclusteringClassifier(Rounded()).fit(X, y)
    np.testing.assert_array_equal(model.clusters_, [0, 3, 4, 7, 9])
    np.testing.assert_array_equal(model.cluster_classes_, [0, 0, 0, 1, 1])
    np.testing.assert_allclose(model.predict_proba([[3.0], [7.0]]), [[2 / 3, 1 / 3], [0, 1]])
    np.testing.assert_allclose(model.predict_proba([[-5.0], [50.0], [5.0]]), [[0.5, 0.5]] * 3)  # new: the prior
    model.set_params(unlabeled_clusters="prior").fit(X, y)
    np.testing.assert_allclose(model.cluster_proba_, [[2 / 3, 1 / 3], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0, 1]])


def test_nearest_is_in_the_features_of_the_clusterer():
    """The second feature is small until it is scaled."""
    X = np.array([[0, 0], [0, 0.1], [10, 0], [10, 0.1], [0, 10], [0, 10.1]]) * [1, 1e-3]
    X = np.repeat(X, 5, axis=0) + 1e-6 * np.random.RandomState(0).rand(30, 2)
    y = np.full(30, -1)
    y[:10], y[10:20] = 0, 1
    scaled = make_pipeline(StandardScaler(), KMeans(3, n_init=5, random_state=0))
    raw = OverclusteringClassifier(scaled).fit(X, y)
    assert set(raw.clusterer_.predict(X[20:])) <= set(raw.clusters_[raw.cluster_counts_.sum(1) == 0])
    assert set(raw.predict(X[20:])) == {0}


def test_results_do_not_depend_on_how_many_rows_are_held(blobs, monkeypatch):
    X, y, _ = blobs
    few = np.full(len(y), -1)
    few[:6] = y[:6]
    for clusterer in (KMeans(9, random_state=0), GaussianMixture(9, random_state=0)):
        expected = OverclusteringClassifier(clusterer).fit(X, few)
        with monkeypatch.context() as patch:
            patch.setattr(_overclustering_classifier, "_ROWS", 7)
            got = OverclusteringClassifier(clusterer).fit(X, few)
        assert_close(got.cluster_proba_, expected.cluster_proba_)


def test_labels_of_all_kinds(blobs):
    X, y, few = blobs
    expected = OverclusteringClassifier(KMeans(9, random_state=0)).fit(X, few)
    words = np.array(["a", "b", "c"], dtype=object)
    hidden = np.where(few < 0, -1, words[few])
    model = OverclusteringClassifier(KMeans(9, random_state=0)).fit(X, hidden)
    assert model.classes_.tolist() == ["a", "b", "c"]
    proba = expected.predict_proba(X)
    assert_same_labels(model.predict(X), words[expected.predict(X)], proba)
    assert model.score(X, hidden) == pytest.approx(expected.score(X, few))
    assert model.score(X, hidden) == pytest.approx(expected.score(X[few >= 0], few[few >= 0]))
    for labels in (
        few.tolist(),
        np.array([*map(np.int64, few)], dtype=object),
        few.astype(float),
        pd.Series(few),
        torch.tensor(few),
    ):
        same = OverclusteringClassifier(KMeans(9, random_state=0)).fit(X, labels)
        assert_same_labels(same.predict(X), expected.predict(X), proba)
    named = OverclusteringClassifier(KMeans(9, random_state=0), unlabeled_value="?").fit(
        X, np.where(few < 0, "?", words[few].astype(str))
    )
    assert_same_labels(named.predict(X), model.predict(X), proba)
    signs = np.where(y > 0, 1, -1)
    both = OverclusteringClassifier(KMeans(9, random_state=0), unlabeled_value=None).fit(X, signs)
    assert both.classes_.tolist() == [-1, 1]
    with pytest.warns(UserWarning, match="set unlabeled_value=None"):
        OverclusteringClassifier(KMeans(9, random_state=0)).fit(X, signs)


def test_sparse_rows_and_data_frames(blobs):
    X, _, few = blobs
    few[20:] = -1
    model = OverclusteringClassifier(KMeans(9, random_state=0)).fit(X, few)
    sparse = OverclusteringClassifier(KMeans(9, random_state=0)).fit(csr_matrix(X), few)
    proba = model.predict_proba(X)
    assert_same_labels(sparse.predict(csr_matrix(X)), model.predict(X), proba)
    frame = pd.DataFrame(X, columns=["left", "right"])
    framed = OverclusteringClassifier(KMeans(9, random_state=0)).fit(frame, few)
    assert framed.feature_names_in_.tolist() == ["left", "right"]
    assert_same_labels(framed.predict(frame), model.predict(X), proba)


class OnImages(ClusterMixin, BaseEstimator):
    """A clusterer of images, numpy's or torch's."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, X, y=None):
        self.inner_ = clone(self.inner).fit(np.asarray(X).reshape(len(X), -1))
        return self

    def predict(self, X):
        labels = self.inner_.predict(np.asarray(X).reshape(len(X), -1))
        return torch.as_tensor(labels) if isinstance(X, torch.Tensor) else labels


class OnlyAnArray:
    """Samples that can only be converted to an array."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize("clusterer", [KMeans(5, n_init=1, random_state=0), GaussianMixture(4, random_state=0)])
def test_parts_of_what_can_only_be_converted(clusterer, blobs, monkeypatch):
    X, _, few = blobs
    monkeypatch.setattr(_overclustering_classifier, "_ROWS", 20)
    expected = OverclusteringClassifier(clusterer).fit(X, few).predict(X)
    np.testing.assert_array_equal(OverclusteringClassifier(clusterer).fit(OnlyAnArray(X), few).predict(X), expected)


def test_frames_and_arrays_of_another_precision(blobs):
    X, _, few = blobs
    model = OverclusteringClassifier(KMeans(5, n_init=1, random_state=0))
    model.fit(pd.DataFrame(X.astype(np.float32)), few)
    assert (model.predict(X) == model.predict(X.astype(np.float32))).all()


def test_images_and_tensors():
    X, y = load_digits(return_X_y=True)
    images, few = X.reshape(-1, 8, 8), np.where(np.arange(len(y)) < 60, y, -1)
    expected = OverclusteringClassifier(KMeans(40, random_state=0)).fit(X, few).score(X, y)
    model = OverclusteringClassifier(OnImages(KMeans(40, random_state=0))).fit(images, few)
    assert abs(model.score(images, y) - expected) < 0.05
    tensor = torch.as_tensor(images)
    again = OverclusteringClassifier(OnImages(KMeans(40, random_state=0))).fit(tensor, torch.as_tensor(few))
    predicted = again.predict(tensor)
    assert isinstance(predicted, torch.Tensor)
    assert isinstance(again.predict_proba(tensor), torch.Tensor)
    assert_same_labels(predicted, model.predict(images), model.predict_proba(images))


def test_few_labels_are_enough_for_digits(global_random_seed):
    X, y = load_digits(return_X_y=True)
    rows = np.random.RandomState(global_random_seed).permutation(len(y))
    few = np.full(len(y), -1)
    few[rows[:90]] = y[rows[:90]]
    model = OverclusteringClassifier(KMeans(40, random_state=global_random_seed)).fit(X, few)
    assert model.score(X[rows[90:]], y[rows[90:]]) > 0.85


def test_search_pickle_and_parameters(blobs):
    X, y, few = blobs
    model = OverclusteringClassifier(KMeans(random_state=0))
    search = GridSearchCV(model, {"clusterer__n_clusters": [2, 20]}, cv=KFold(3, shuffle=True, random_state=0))
    search.fit(X, few)  # rows without a label do not count in the score
    assert search.best_params_ == {"clusterer__n_clusters": 20}
    assert search.best_score_ > 0.95
    assert cross_val_score(model.set_params(clusterer__n_clusters=20), X, y).min() > 0.95
    assert cross_val_score(model, X, y, scoring=make_clustering_scorer()).min() > 0.95
    fitted = clone(model).fit(X, few)
    assert not hasattr(model, "clusterer_")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_metadata_goes_to_the_clusterer():
    X, y = np.array([[0.0], [0.0], [1.0]]), [0, 0, 1]
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        OverclusteringClassifier(Rounded()).fit(X, y, strength=2)
    with config_context(enable_metadata_routing=True):
        model = OverclusteringClassifier(Rounded().set_fit_request(strength=True)).fit(X, y, strength=2)
    assert model.clusterer_.strength_ == 2


def test_attributes_come_with_fit():
    model = OverclusteringClassifier(KMeans(2))
    for name in ("n_features_in_", "feature_names_in_", "classes_", "cluster_classes_", "clusters_"):
        assert not hasattr(model, name)


def test_a_fit_that_fails_changes_nothing(blobs):
    X, _, few = blobs
    model = OverclusteringClassifier(KMeans(9, random_state=0)).fit(X, few)
    before = model.predict(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), few)
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1] * 4, "y has no label: all 4 samples are unlabeled_value=-1"),
        (
            np.array(["a", "b", -1, "a"]),
            "y contains the string '-1'",
        ),
        ([0, 1, None, 1], "y contains NaN or None"),
        ([0, 1, np.nan, 1], "NaN"),
        (pd.Series([0, 1, None, -1], dtype="Int64"), "NaN"),
        (None, "requires y to be passed"),
        ([0, 1, 0.5, -1], "Unknown label type"),
        ([0, 1], "inconsistent numbers of samples"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        OverclusteringClassifier(KMeans(2)).fit(np.arange(4.0)[:, None], y)


def test_rows_without_means():
    X = np.array([["a"], ["b"], ["z"]], dtype=object)

    class Words(Rounded):
        def predict(self, X):
            return np.array([ord(row[0]) for row in X])

    with pytest.raises(ValueError, match='unlabeled_clusters="nearest" requires numeric features'):
        OverclusteringClassifier(Words()).fit(X, [0, -1, 1])
    model = OverclusteringClassifier(Words(), unlabeled_clusters="prior").fit(X, np.array(["x", -1, "y"], dtype=object))
    assert model.predict(X).tolist() == ["x", "x", "y"]
