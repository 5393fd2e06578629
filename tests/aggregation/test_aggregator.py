"""BagOfWords, VLAD and FisherVector against plain loops and against scikit-image; invariances; bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector

ALL = [
    BagOfWords(3, random_state=0),
    BagOfWords(3, assignment="soft", random_state=0),
    VLAD(3, random_state=0),
    VLAD(3, assignment="soft", normalization=None, random_state=0),
    VLAD(3, normalization="intra", random_state=0),
    FisherVector(3, random_state=0),
    FisherVector(3, improved=False, weight_terms=True, random_state=0),
]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**16), model=st.sampled_from(ALL), chunk=st.integers(1, 40))
def test_invariances(seed, model, chunk):
    """The order of descriptors and bags and the chunk size do not matter."""
    rng = np.random.RandomState(seed)
    bags = [rng.normal(size=(size, 3)) for size in rng.randint(0, 12, 6)] + [rng.normal(size=(5, 3))]
    model = clone(model).fit(bags)
    expected = model.transform(bags)
    np.testing.assert_allclose(model.transform([bag[rng.permutation(len(bag))] for bag in bags]), expected, atol=1e-7)
    order = rng.permutation(len(bags))
    np.testing.assert_allclose(model.transform([bags[i] for i in order]), expected[order], atol=1e-7)
    np.testing.assert_allclose(model.set_params(chunk_size=chunk).transform(bags), expected, atol=1e-7)
    assert np.isfinite(expected).all()


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**16), cut=st.integers(1, 9))
def test_two_weighted_halves_make_the_bag(seed, cut):
    bag = np.random.RandomState(seed).normal(size=(10, 3))
    for model in (BagOfWords(3), BagOfWords(3, assignment="soft"), VLAD(3, normalization=None)):
        model = clone(model).set_params(random_state=0).fit([bag])
        whole, first, second = model.transform([bag, bag[:cut], bag[cut:]])
        np.testing.assert_allclose(whole, (cut * first + (10 - cut) * second) / 10, atol=1e-9)


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_scale_of_the_data_does_not_matter(ragged, model, dtype, scale):
    model = clone(model)
    bags = [(bag * scale).astype(dtype) for bag in ragged]
    got = model.fit_transform(bags)
    assert got.dtype == dtype
    assert np.isfinite(got).all()
    if getattr(model, "normalization", "") is None:
        got = got / scale
    expected = clone(model).fit_transform(ragged)
    np.testing.assert_allclose(got, expected, atol=2e-2 if dtype == np.float32 else 1e-6)


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize("make", [lambda x: x, torch.as_tensor, lambda x: DescriptorSets.from_bags(torch.as_tensor(x))])
def test_containers(model, make, device):
    X = np.random.RandomState(0).normal(size=(6, 8, 3))
    got = clone(model).fit(make(X)).transform(make(X))
    expected = clone(model).fit_transform(X)
    assert isinstance(got, np.ndarray if isinstance(make(X), np.ndarray) else torch.Tensor)
    np.testing.assert_allclose(np.asarray(got), expected, atol=1e-6)


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize(
    ("bags", "message"),
    [
        ([np.zeros((0, 3)), np.zeros((0, 3))], "all 2 bags are empty"),
        ([np.zeros((2, 3)), np.full((2, 3), np.inf)], "bag 1 contains NaN or infinity"),
        ([np.zeros((1, 3)), np.zeros((1, 3))], "n_samples=2 bags contain 2 descriptors"),
        ([np.zeros((4, 3)), np.zeros((4, 2))], "bag 1 has 2 features, but bag 0 has 3"),
        ([np.array([["a"]])], "bag 0 must hold real numbers"),
        ([], "bags is empty"),
        ([None, np.zeros((2, 3))], r"bag 0 must be of shape \(n_0, d\), got a NoneType"),
        ([np.zeros((2, 3)), "words"], "bag 1 must be of shape .*, got a str"),
        ([csr_array(np.eye(3))], "bag 0 must be of shape .*, got a csr_array"),
        ([[[1, 2], [3]]], "bag 0, a list, must be an array"),
        (np.array([None, np.zeros((2, 3))], dtype=object), "bag 0 must be of shape .*, got a NoneType"),
    ],
)
def test_bad_bags(model, bags, message):
    with pytest.raises(ValueError, match=message):
        clone(model).fit(bags)


@pytest.mark.parametrize("model", ALL)
def test_another_number_of_features(ragged, model):
    model = clone(model).fit(ragged)
    with pytest.raises(ValueError, match="expecting 4"):
        model.transform([np.zeros((2, 3))])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", ALL)
def test_duplicates_and_one_codeword(model):
    same = [np.ones((4, 2)), np.ones((3, 2))]
    assert np.isfinite(clone(model).fit_transform(same)).all()
    size = "n_components" if isinstance(model, FisherVector) else "n_codewords"
    assert np.isfinite(clone(model).set_params(**{size: 1}).fit_transform([np.eye(3), np.eye(3)])).all()


def test_few_distinct_descriptors_warn():
    with pytest.warns(ConvergenceWarning, match="fewer distinct values"):
        BagOfWords(3).fit([np.repeat([[0.0], [1.0]], 5, axis=0)])


@pytest.mark.parametrize("model", ALL)
@pytest.mark.parametrize(
    ("module", "dtype"),
    [(module, name) for module in (np, torch) for name in ("uint8", "int64", "float16", "float32", "float64")]
    + [(torch, "bfloat16")],
)
def test_precision_of_flat_rows_is_that_of_bags(model, module, dtype):
    """float64 input is computed in float64, all other in float32. A row is a bag of one descriptor."""
    X = np.random.RandomState(0).randint(0, 20, (30, 3))
    X = X.astype(dtype) if module is np else torch.as_tensor(X).to(getattr(torch, dtype))
    got = clone(model).fit_transform(X)
    assert got.dtype == (module.float64 if dtype == "float64" else module.float32)
    assert_close(got, clone(model).fit_transform(X[:, None]))


def test_global_generators_stay(ragged):
    np.random.seed(3)
    torch.manual_seed(3)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    a, b = (BagOfWords(3, random_state=1).fit_transform(ragged) for _ in range(2))
    assert_close(a, b)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert (torch.get_rng_state() == torch_state).all()


@pytest.mark.parametrize("model", ALL)
def test_a_failed_fit_leaves_the_estimator_as_it_was(ragged, model):
    model = clone(model).fit(ragged)
    before = model.transform(ragged)
    with pytest.raises(ValueError, match="n_samples=1 bags contain 1 descriptors"):
        model.fit([np.zeros((1, 2))])
    np.testing.assert_array_equal(model.transform(ragged), before)
