"""Results at extreme scales of the data: those of scale 1 where a method has no scale, else a clear error."""

import numpy as np
import pytest
import torch
from examples import BAGS, ESTIMATORS, IMAGES, example, instances
from sklearn.base import clone
from sklearn.cluster import KMeans
from tolerance import assert_close

from sklinvariant.accumulate import Blocks, fit_kmeans, measure_moments
from sklinvariant.aggregation import VLAD, LearnedVLAD
from sklinvariant.cluster import IICClusterer, OverclusteringClassifier
from sklinvariant.feature_extraction import DensePatches
from sklinvariant.feature_extraction._filters import slide, zca
from sklinvariant.hashing import SignHasher
from sklinvariant.metrics import equivariance_error, exact_ranking, invariance_score, make_retrieval_scorer
from sklinvariant.ops import in_safe_unit, moment, unit_length
from sklinvariant.pooling import NestedInvariancePooler

SCALES = [
    (np.float32, 2.0**99),  # 6e29
    (np.float32, 2.0**-100),  # 8e-31
    (np.float64, 2.0**498),  # 8e149
    (np.float64, 2.0**-498),
]
BEYOND = [(np.float32, 2.0**124), (np.float32, 2.0**-140), (np.float64, 2.0**1018), (np.float64, 2.0**-1060)]
# those that wrap estimators which have a scale of their own, see rows of 0 and 1 alone, or take pixels
_OWN_SCALE = {"HammingNeighbors", "OnDescriptors", "OverclusteringClassifier"}
# what is in units of the data, so that it grows with them
_IN_UNITS = {("GeMPooling", "transform"), ("SpatialPooling", "transform")}
_IN_UNITS |= {
    (name, "decision_function") for name in ("SignHasher", "LSHHasher", "PCAHasher", "ITQHasher", "BilinearHasher")
}
_METHODS = ("predict", "transform", "predict_proba", "decision_function", "activations", "score_samples")
NAMES = sorted(ESTIMATORS.keys() - IMAGES - _OWN_SCALE)
CASES = [(name, i) for name in NAMES for i in range(len(list(instances(name))))]


def _model(name, i):
    return list(instances(name))[i]


def _answers(model, X, y):
    model = clone(model).fit(X, y)
    return {method: np.asarray(getattr(model, method)(X)) for method in _METHODS if hasattr(model, method)}


@pytest.mark.parametrize(("dtype", "scale"), SCALES)
@pytest.mark.parametrize(("name", "i"), CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_results_do_not_depend_on_the_scale(name, i, dtype, scale):
    """Scales are powers of two, which do not round. The largest error is that of a different order of rounding."""
    _, X, y = example(name)
    X = X.astype(dtype)
    expected, got = (_answers(_model(name, i), rows, y) for rows in (X, X * dtype(scale)))
    for method, values in got.items():
        if values.dtype.kind in "iu":
            assert (values == expected[method]).mean() > 0.95, method
        else:
            unit = scale if (name, method) in _IN_UNITS else 1.0
            assert_close(values / unit, expected[method], rtol=1e-3 if dtype == np.float32 else 1e-6)


@pytest.mark.parametrize(("dtype", "scale"), BEYOND)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_cannot_be_computed_with_is_refused(name, dtype, scale):
    _, X, y = example(name)
    with pytest.raises(ValueError, match=r"too (large|small)|have a standard deviation of"):
        _model(name, 0).fit(X.astype(dtype) * dtype(scale), y)


@pytest.mark.parametrize("constant", [0.0, 1.0, -0.0, 5e-324, 1e-150, 1e150])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_constant_data_give_numbers_or_a_clear_error(name, constant):
    _, X, y = example(name)
    X = np.full(X.shape, constant)
    if constant == 5e-324:
        with pytest.raises(ValueError, match="too small"):
            _model(name, 0).fit(X, y)
        return
    for method, values in _answers(_model(name, 0), X, y).items():
        assert np.isfinite(values).all(), method


@pytest.mark.parametrize("name", sorted(BAGS - _OWN_SCALE))
def test_bags_beyond_reach_are_refused_after_fit(name):
    _, X, y = example(name)
    X = X.astype(np.float32)
    model = _model(name, 0).fit(X, y)
    with pytest.raises(ValueError, match="too large"):
        model.transform(X * np.float32(2.0**124))


@pytest.mark.parametrize("name", ["SKLSHHasher", "LearnedFisherVector", "IICClusterer"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_decision_is_made_by_nan(name):
    """Fit at one scale, and transform at a scale that float32 cannot represent together with it."""
    _, X, y = example(name)
    X = X.astype(np.float32)
    model = _model(name, 0).fit(X * np.float32(2.0**-100), y)
    decide = model.predict if hasattr(model, "predict") else model.transform
    with pytest.raises(FloatingPointError, match="too far from those seen in fit"):
        decide(X * np.float32(2.0**100))


@pytest.mark.parametrize(("dtype", "scale"), SCALES)
def test_clusters_are_found_at_any_scale(dtype, scale):
    rng = np.random.RandomState(0)
    y = np.arange(120) % 4
    X = (rng.normal(size=(120, 5)) + 8 * np.eye(5)[y]).astype(dtype)
    model = IICClusterer(4, max_epochs=5, n_heads=2, random_state=0).fit(X * dtype(scale))
    purity = sum(np.bincount(y[model.labels_ == k], minlength=4).max() for k in range(4)) / len(y)
    assert purity > 0.95


@pytest.mark.parametrize("offset", [0, 1e9, 1e12])
def test_clusters_are_found_at_any_distance_from_zero(offset):
    """More features than scikit-learn's trees support, and products of large numbers that cancel."""
    rng = np.random.RandomState(0)
    y = np.arange(120) % 4
    X = rng.normal(size=(120, 20)) + 8 * np.eye(20)[y]
    model = IICClusterer(4, max_epochs=5, n_heads=2, random_state=0).fit(X + offset)
    purity = sum(np.bincount(y[model.labels_ == k], minlength=4).max() for k in range(4)) / len(y)
    assert purity > 0.95


@pytest.mark.parametrize(("dtype", "scale"), SCALES)
def test_ranking(dtype, scale):
    X = np.random.RandomState(0).normal(size=(40, 6)).astype(dtype)
    np.testing.assert_array_equal(exact_ranking(X * dtype(scale)), exact_ranking(X))
    np.testing.assert_array_equal(exact_ranking(X[:5] * dtype(scale), X * dtype(scale)), exact_ranking(X[:5], X))


@pytest.mark.parametrize(("dtype", "scale"), SCALES)
def test_invariance_score_and_retrieval(dtype, scale):
    pairs = np.random.RandomState(0).normal(size=(30, 2, 4)).astype(dtype)
    assert_close(invariance_score(pairs * dtype(scale)), invariance_score(pairs))
    X, y = pairs.reshape(60, 4), np.arange(60) % 3
    score = make_retrieval_scorer()
    model = _Identity()
    assert score(model, X * dtype(scale), y) == score(model, X, y)


def test_retrieval_at_any_distance_from_zero():
    X, y = np.random.RandomState(0).normal(size=(60, 20)), np.arange(60) % 3
    X = np.round(X * 1024) / 1024  # so that adding loses no digit
    score = make_retrieval_scorer()
    assert score(_Identity(), X + 2.0**35, y) == score(_Identity(), X, y)


class _Identity:
    def transform(self, X):
        return X


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_equivariance_error(scale):
    images = np.random.RandomState(0).rand(2, 6, 6)
    error = equivariance_error(lambda x: x[:, :, :3] * scale, "C2", images[:, :, :3], output="image")
    assert_close(error, equivariance_error(lambda x: x[:, :, :3], "C2", images[:, :, :3], output="image"))
    assert error > 0.1


@pytest.mark.parametrize(("dtype", "scale"), [*SCALES, (np.float32, 2.0**-120), (np.float64, 1e-14)])
def test_orbits_are_normalised_however_short(dtype, scale):
    orbits = np.random.RandomState(0).rand(5, 3, 4).astype(dtype)
    stages = [("rotation", (1, 2, np.inf), "l2")]
    model = NestedInvariancePooler(backbone=None, stages=stages).fit(orbits)
    if scale < 2.0**-110:
        small = model.transform(orbits * dtype(scale))
    else:
        small = clone(model).fit_transform(orbits * dtype(scale))
    assert_close(np.linalg.norm(small.astype(np.float64), axis=1), np.ones(5), rtol=1e-4)
    assert_close(small, model.transform(orbits), rtol=1e-4)


@pytest.mark.parametrize(("dtype", "scale"), SCALES)
def test_patches_of_unit_length(dtype, scale):
    images = np.random.RandomState(0).rand(3, 6, 6).astype(dtype)
    model = DensePatches(3, normalize="l2")
    bags = model.fit_transform(images * dtype(scale)) if scale < 1 else model.fit_transform(images)
    assert_close(np.linalg.norm(np.asarray(bags.values, np.float64), axis=1), np.ones(len(bags.values)), rtol=1e-4)


@pytest.mark.parametrize("order", [1, 2, 7, np.inf])
@pytest.mark.parametrize(("dtype", "scale"), [*SCALES, (np.float32, 1e-44), (np.float64, 5e-324)])
def test_moments(dtype, scale, order):
    x = torch.full((3, 4), 2, dtype=torch.float64 if dtype == np.float64 else torch.float32) * scale
    assert_close(moment(x, order, 1), x[:, 0], rtol=1e-3)


@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**100])
def test_kmeans_stops_by_its_tolerance_at_any_scale(scale):
    rows = torch.from_numpy(np.random.RandomState(0).normal(size=(300, 3)).astype(np.float32))
    options = {"max_iter": 50, "tol": 1e-4}
    book, n_iter = fit_kmeans(Blocks(rows, torch.ones(300)), 5, generator=torch.Generator().manual_seed(0), **options)
    scaled = fit_kmeans(Blocks(rows * scale, torch.ones(300)), 5, generator=torch.Generator().manual_seed(0), **options)
    assert scaled[1] == n_iter > 3
    assert_close(scaled[0] / scale, book)


@pytest.mark.parametrize("scale", [2.0**-498, 1.0, 2.0**498])
def test_whitening_and_contrast(scale):
    rows = torch.from_numpy(np.random.RandomState(0).normal(size=(50, 4)))
    mean, whitening = zca(measure_moments(Blocks(rows * scale), axes=2), 0.1)
    reference = zca(measure_moments(Blocks(rows), axes=2), 0.1)
    assert_close(mean / scale, reference[0])
    assert_close(whitening * scale, reference[1])
    images, filters = rows[:36].view(1, 12, 12, 1), torch.eye(4, dtype=torch.float64)
    maps = slide(images * scale, filters, torch.zeros(4, dtype=torch.float64), (2, 2), 1, flat=0.01 * scale)
    assert_close(maps, slide(images, filters, torch.zeros(4, dtype=torch.float64), (2, 2), 1, flat=0.01))


def test_the_unit_is_1_at_ordinary_scales():
    for scale in (1e-9, 1.0, 1e9):
        x = torch.rand(10, dtype=torch.float32) * scale
        same, unit = in_safe_unit(x)
        assert same is x
        assert unit == 1
    assert in_safe_unit(torch.zeros(3))[1] == 1


def test_unit_length():
    x = torch.tensor([[3.0, 4.0], [3e-45, 4e-45], [3e37, 4e37], [0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    assert_close(unit_length(x)[[0, 2, 3]], expected[[0, 2, 3]])
    assert_close(unit_length(x)[1], expected[1], atol=0.2)  # of numbers with one or two bits
    assert_close(torch.linalg.vector_norm(unit_length(x)[1]), 1.0)


def test_clusters_without_labels_take_the_class_of_the_nearest_at_any_scale():
    X = np.array([[0.0, 0], [0, 1], [10, 0], [10, 1], [12, 0], [12, 1]])
    y = np.array([0, 0, 1, 1, -1, -1])
    model = OverclusteringClassifier(KMeans(3, n_init=5, random_state=0), unlabeled_clusters="nearest")
    expected = clone(model).fit(X, y).predict(X)
    assert expected[4:].tolist() == [1, 1]
    np.testing.assert_array_equal(clone(model).fit(X * 2.0**300, y).predict(X * 2.0**300), expected)


def test_residuals_in_units_of_the_data():
    rng = np.random.RandomState(0)
    bags, y = rng.normal(size=(20, 6, 3)).astype(np.float32) + np.arange(20)[:, None, None] % 2, np.arange(20) % 2
    for estimator in (
        VLAD(3, normalization=None, random_state=0),
        LearnedVLAD(3, normalization=None, max_epochs=2, random_state=0),
    ):
        expected = clone(estimator).fit(bags, y).transform(bags)
        scaled = clone(estimator).fit(bags * np.float32(2.0**99), y).transform(bags * np.float32(2.0**99))
        assert_close(scaled / 2.0**99, expected, rtol=1e-2)


def test_messages_name_the_scale():
    with pytest.raises(ValueError, match=r"1e\+38.*float32.*divide X by a constant, or pass float64"):
        SignHasher().fit(np.full((4, 2), 1e38, np.float32))
    with pytest.raises(ValueError, match=r"too small.*multiply X by a constant\."):
        SignHasher().fit(np.full((4, 2), 5e-324))
