"""Parameters that were changed after the fit are checked before they are used."""

import inspect

import numpy as np
import pytest
from examples import ESTIMATORS, example
from sklearn.exceptions import NotFittedError

import sklinvariant
from sklinvariant._compat import InvalidParameterError
from sklinvariant.autoencoder import CanonicalRotation
from sklinvariant.base._calls import COMPUTING, Computing
from sklinvariant.cluster import TEMIClusterer
from sklinvariant.hashing import ITQHasher
from sklinvariant.neighbors import HammingNeighbors

ANSWERS = ("transform", "predict", "kneighbors", "fit_predict")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_changes_after_fit_are_checked(name):
    """Rows with a negative stride left a result uninitialised."""
    estimator, X, y = example(name)
    estimator.fit(X, y)
    method = getattr(estimator, next(method for method in ANSWERS if hasattr(estimator, method)))
    for parameter in {"batch_size", "chunk_size", "order"} & estimator.get_params(deep=False).keys():
        before = estimator.get_params(deep=False)[parameter]
        for value in (0, -1, True, "many"):
            estimator.set_params(**{parameter: value})
            with pytest.raises(InvalidParameterError, match=f"The {parameter!r} parameter of {name} must be"):
                method(X)
        estimator.set_params(**{parameter: before})
        method(X)


def test_changes_after_fit_are_checked_before_faiss():
    pytest.importorskip("faiss")
    X = np.random.RandomState(0).randint(2, size=(60, 16)).astype(np.uint8)
    for params in ({"n_jobs": "all"}, {"n_jobs": True}, {"n_neighbors": True}):
        with pytest.raises(ValueError, match=next(iter(params))):
            HammingNeighbors().fit(X).set_params(**params).kneighbors(X)
    for effort in (True, "much", -1, 1.5):
        model = HammingNeighbors(index="hnsw").fit(X).set_params(ef_search=effort)
        with pytest.raises(ValueError, match="ef_search"):
            model.kneighbors(X)


def test_all_methods_that_read_X_are_checked():
    unchecked = {
        f"{name}.{method}"
        for name, cls in sklinvariant.all_estimators()
        for method, function in inspect.getmembers(cls, inspect.isfunction)
        if not method.startswith("_") and method not in COMPUTING and "X" in inspect.signature(function).parameters
    }
    assert unchecked == set()
    with pytest.raises(NotFittedError):
        CanonicalRotation().predict_angle(np.zeros((2, 4, 4)))


@pytest.mark.parametrize(("method", "words"), [("fit", "X, y"), ("partial_fit", "X, y"), ("transform", "X")])
def test_an_unknown_argument_names_the_class_and_what_it_takes(method, words):
    X = np.random.RandomState(0).rand(20, 5)
    hasher = ITQHasher(3).fit(X)
    with pytest.raises(TypeError, match=rf"^ITQHasher.{method}\(\) .*'sample_weight'. It takes {words}$"):
        getattr(hasher, method)(X, sample_weight=np.ones(20))
    with pytest.raises(TypeError, match=r"^ITQHasher.fit\(\) missing a required argument: 'X'. It takes X, y$"):
        hasher.fit()
    with pytest.raises(TypeError, match=r"^ITQHasher.fit\(\) .*'sample_weight'"):
        hasher.fit_transform(X, sample_weight=np.ones(20))


@pytest.mark.parametrize("method", ["fit", "partial_fit", "fit_predict"])
def test_a_missing_argument_names_the_class(method):
    with pytest.raises(TypeError, match=rf"^TEMIClusterer.{method}\(\) missing .*'X'. It takes X, y"):
        getattr(TEMIClusterer(2), method)()


def test_an_error_inside_of_a_method_is_passed_on():
    with pytest.raises(TypeError, match=r"^wrong$"):
        SingleError().transform([[0.0]])


class SingleError(Computing):
    _state: dict = {}

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X):
        return self

    def transform(self, X):
        raise TypeError("wrong")
