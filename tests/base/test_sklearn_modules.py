"""Modules of the steps of scikit-learn, against scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MeanShift
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, RidgeClassifier, SGDClassifier
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from sklinvariant import to_module

X, Y = load_iris(return_X_y=True)
X = X - X.mean(0)
TRANSFORMERS = [
    MaxAbsScaler(),
    MinMaxScaler((-1, 2)),
    MinMaxScaler(clip=True),
    Normalizer(),
    Normalizer("l1"),
    Normalizer("max"),
    PCA(3),
    PCA(3, whiten=True),
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    TruncatedSVD(2, random_state=0),
]
CLASSIFIERS = [
    LogisticRegression(max_iter=1000),
    LinearSVC(),
    RidgeClassifier(),
    SGDClassifier(random_state=0),
]


def computed(estimator, method, rows):
    return to_module(estimator, method, dtype=torch.float64)(torch.from_numpy(rows)).numpy()


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)
def test_transformers(transformer):
    transformer.fit(X[::2])
    rows = np.concatenate([2 * X, np.zeros((1, 4))])
    np.testing.assert_allclose(computed(transformer, None, rows), transformer.transform(rows), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("classifier", "n_classes"),
    [*itertools.product(CLASSIFIERS, (2, 3)), (LogisticRegression(solver="liblinear"), 2)],
    ids=str,
)
def test_classifiers(classifier, n_classes):
    rows = X[n_classes > Y]
    classifier.fit(rows, 2 * Y[n_classes > Y] + 1)
    methods = ["decision_function", "predict"] + ["predict_proba"] * isinstance(classifier, LogisticRegression)
    for method in methods:
        expected = getattr(classifier, method)(rows)
        np.testing.assert_allclose(computed(classifier, method, rows), expected, rtol=1e-9, atol=1e-9)


def test_kmeans():
    kmeans = KMeans(3, n_init=1, random_state=0).fit(X)
    for method in ("transform", "predict"):
        given, expected = computed(kmeans, method, X), getattr(kmeans, method)(X)
        np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-9)
        assert given.dtype == expected.dtype


def test_kmeans_of_clusters_that_are_far_apart():
    """Squares of the rows would not leave any digit of the distances."""
    rows = (X[:, :2] / 20 + 1000 * Y[:, None]).astype(np.float32)
    kmeans = KMeans(3, n_init=1, random_state=0).fit(rows)
    given = to_module(kmeans)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(given, kmeans.transform(rows.astype(np.float64)), rtol=1e-2)


def test_a_range_that_is_small_beside_the_values():
    rows = (1e4 + X).astype(np.float32)
    scaler = MinMaxScaler().fit(rows.astype(np.float64))
    given = to_module(scaler)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(given, scaler.transform(rows.astype(np.float64)), rtol=1e-4, atol=1e-5)


def test_several_labels():
    labels = np.stack([Y > 0, Y > 1], 1).astype(int)
    ridge = RidgeClassifier().fit(X, labels)
    np.testing.assert_array_equal(computed(ridge, "predict", X), ridge.predict(X))


def test_subclasses_may_compute_other_answers():
    class Exponential(LinearRegression):
        def predict(self, X):
            return np.exp(super().predict(X))

    with pytest.raises(ValueError, match="Exponential cannot be converted"):
        to_module(Exponential().fit(X, Y))


def test_sparse_weights():
    classifier = LogisticRegression(max_iter=1000).fit(X, Y).sparsify()
    expected = classifier.predict_proba(X)
    np.testing.assert_allclose(computed(classifier, "predict_proba", X), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_outputs", [None, 1, 2])
def test_regressors(n_outputs):
    regressor = LinearRegression().fit(X[:, :2], X[:, 2] if n_outputs is None else X[:, 2 : 2 + n_outputs])
    expected = regressor.predict(X[:, :2])
    np.testing.assert_allclose(computed(regressor, None, X[:, :2]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", [MeanShift(), SVC(kernel="linear"), PoissonRegressor()], ids=str)
def test_others_have_no_module(estimator):
    with pytest.raises(ValueError, match=f"{type(estimator).__name__} cannot be converted to a torch module"):
        to_module(estimator.fit(X, Y))
