"""Integers that float32 cannot represent exactly are computed in float64."""

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, IMAGES, example
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from tolerance import assert_close

from sklinvariant import DescriptorSets, IICClusterer
from sklinvariant.aggregation import VLAD, BagOfWords
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.feature_extraction import OnDescriptors
from sklinvariant.hashing import PCAHasher, SignHasher
from sklinvariant.metrics import exact_ranking
from sklinvariant.pooling import AutoPooling, NestedInvariancePooler, SpatialPooling

OFFSET = 1_700_000_000  # seconds since 1970, of which float32 keeps every 128th
KINDS = [np.int32, np.int64, np.uint32, np.uint64]
_METHODS = ("predict", "transform", "predict_proba", "decision_function")


def _large(dtype, seed=0, shape=(120, 6)):
    """Two classes of ten-digit numbers that differ only in their last digits."""
    y = np.arange(shape[0]) % 2
    small = np.random.RandomState(seed).randint(10, size=shape) + 40 * y.reshape(-1, *[1] * (len(shape) - 1))
    return (OFFSET + small).astype(dtype), small.astype(np.float64), y


def _answers(model, X):
    return {name: np.asarray(getattr(model, name)(X)) for name in _METHODS if hasattr(model, name)}


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_of_large_integers(kind):
    X, _, y = _large(kind)
    labels = IICClusterer(2, max_epochs=5, n_heads=2, random_state=0).fit_predict(X)
    assert max((labels == y).mean(), (labels != y).mean()) == 1


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy, lambda X: X.tolist()])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_of_large_integers(kind, wrap):
    X, small, _ = _large(kind)
    X = wrap(X)
    expected = SignHasher().fit_transform(small)
    np.testing.assert_array_equal(np.asarray(SignHasher().fit_transform(X)), expected)
    scores = PCAHasher(3).fit(X).decision_function(X)
    assert_close(np.asarray(scores), PCAHasher(3).fit(small).decision_function(small), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_codewords_of_large_integers(kind):
    X, small, _ = _large(kind, shape=(20, 6, 3))
    model = BagOfWords(3, random_state=0).fit(X)
    assert len(np.unique(model.codebook_, axis=0)) == 3
    assert_close(model.codebook_ - OFFSET, BagOfWords(3, random_state=0).fit(small).codebook_, atol=1e-4)
    assert model.transform(X).dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrap",
    [
        torch.from_numpy,
        list,
        lambda X: list(torch.from_numpy(X)),
        lambda X: [bag.tolist() for bag in X],
        DescriptorSets.from_bags,
        lambda X: DescriptorSets(torch.from_numpy(X.reshape(-1, X.shape[-1])), np.arange(len(X) + 1) * X.shape[1]),
    ],
    ids=["tensor", "list", "list of tensors", "nested lists", "DescriptorSets", "DescriptorSets of a tensor"],
)
def test_bags_of_large_integers_in_any_container(kind, wrap):
    X, small, _ = _large(kind, shape=(20, 6, 3))
    got = VLAD(2, random_state=0, normalization="l2").fit_transform(wrap(X))
    assert_close(np.asarray(got), VLAD(2, random_state=0, normalization="l2").fit_transform(small), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - IMAGES - {"HammingNeighbors"}))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_large_integers_are_what_float64_is(name):
    estimator, X, y = example(name)
    X = np.round(np.abs(X) * 100).astype(np.int64) + OFFSET
    model = clone(estimator).fit(X, y)
    reference = clone(estimator).fit(X.astype(np.float64), y)
    if name in {"OnDescriptors", "OverclusteringClassifier"}:  # whose inner estimators read numbers by themselves
        return
    for method, values in _answers(reference, X.astype(np.float64)).items():
        np.testing.assert_array_equal(_answers(model, X)[method], values, err_msg=method)


@pytest.mark.parametrize("name", ["BagOfWords", "SignHasher", "LSHHasher", "SparseAutoencoder", "IICClusterer"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_small_integers_after_large_ones_and_the_reverse(name):
    """The precision depends on the values of each call, which must change results only by rounding."""
    estimator, X, y = example(name)
    small = np.round(np.abs(X) * 100).astype(np.int64)
    large = small.copy()
    large.flat[0] = 2**24 + 2  # one value is enough
    for seen, other in ((small, large), (large, small)):
        model = clone(estimator).fit(seen, y)
        assert_close(model.transform(other), model.transform(other.astype(np.float64)), rtol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_small_integers_stay_float32(kind):
    X = (np.arange(24).reshape(12, 2) + 2**24 - 23).astype(kind)
    assert SparseAutoencoder(2, max_epochs=1, random_state=0).fit_transform(X).dtype == np.float32
    assert SparseAutoencoder(2, max_epochs=1, random_state=0).fit_transform(X + kind(1)).dtype == np.float64
    bags = X.reshape(3, 4, 2)
    assert BagOfWords(2, random_state=0).fit_transform(bags).dtype == np.float32
    assert BagOfWords(2, random_state=0).fit_transform(bags + kind(1)).dtype == np.float64


def test_negative_integers():
    X = -np.arange(24, dtype=np.int64).reshape(12, 2) - OFFSET
    np.testing.assert_array_equal(SignHasher().fit_transform(X), SignHasher().fit_transform(X + OFFSET))
    smallest = np.full((4, 2), np.iinfo(np.int64).min)
    with pytest.warns(ConvergenceWarning, match="all features are constant"):
        assert SignHasher().fit_transform(smallest).tolist() == [[0, 0]] * 4


def test_integers_that_no_torch_type_holds():
    X = np.array([[2**64 - 1, 0], [0, 2**63]], dtype=np.uint64)
    assert SignHasher().fit_transform(X).tolist() == [[1, 0], [0, 1]]
    assert SignHasher().fit_transform(torch.from_numpy(X)).tolist() == [[1, 0], [0, 1]]
    assert SignHasher().fit_transform([[2**70, 0], [0, 2**69]]).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("kind", KINDS)
def test_ranking_of_large_integers(kind):
    X, small, _ = _large(kind)
    distances = np.linalg.norm(small[:, None] - small, axis=2)
    expected = np.sort(distances, axis=1)[:, 1:]
    for ranking in (exact_ranking(X), exact_ranking(torch.from_numpy(X)).numpy()):
        assert_close(np.take_along_axis(distances, ranking, 1), expected, rtol=1e-6)  # equal distances change places


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_of_large_integers(kind):
    maps = _large(kind, shape=(4, 4, 4, 2))[0]
    assert_close(SpatialPooling([(1, 1)]).fit_transform(maps), maps.astype(np.float64).mean((1, 2)), rtol=1e-12)
    orbits = _large(kind, shape=(4, 3, 2))[0]
    model = NestedInvariancePooler(backbone=None, stages=[("rotation", 1)], normalize=False)
    assert_close(model.fit_transform(orbits), orbits.astype(np.float64).mean(1), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:AutoPooling. consecutive rows:UserWarning")  # these rows are random
@pytest.mark.parametrize("kind", KINDS)
def test_integers_to_rebuild_from(kind):
    _, small, _ = _large(kind)
    pooled = np.full((3, 2), OFFSET + 1, kind)
    pooling = AutoPooling(2, standardize=False, max_iter=5, random_state=0).fit(small)
    assert_close(pooling.inverse_transform(pooled), pooled.astype(np.float64) @ pooling.components_, rtol=1e-12)
    pooling = AutoPooling(2, max_iter=5, random_state=0).fit(small)
    components, mean, scale = pooling.components_, pooling.mean_, pooling.scale_
    rebuilt = mean + (pooled.astype(np.float64) - components @ (mean / scale)) @ components * scale
    assert_close(pooling.inverse_transform(pooled), rebuilt, rtol=1e-12)
    assert pooling.inverse_transform(torch.from_numpy(pooled)).dtype == torch.float64


def test_transformers_of_descriptors_see_all_digits():
    X, small, _ = _large(np.int64, shape=(20, 6, 3))
    got = OnDescriptors(StandardScaler()).fit_transform(X)
    assert_close(got.values, OnDescriptors(StandardScaler()).fit_transform(small).values, rtol=1e-5)


def test_a_memory_mapped_array(tmp_path):
    X, small, _ = _large(np.int64, shape=(20, 6, 3))
    DescriptorSets.from_bags(X).save(tmp_path / "bags")
    model = BagOfWords(2, random_state=0).fit(DescriptorSets.load(tmp_path / "bags"))
    assert_close(model.codebook_ - OFFSET, BagOfWords(2, random_state=0).fit(small).codebook_, atol=1e-4)
