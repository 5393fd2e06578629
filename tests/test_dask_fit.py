"""The fit to a Dask collection is that to the same samples in memory, computed from sums over the blocks."""

import numpy as np
import pytest
from examples import answers, example, moment_hashers
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, IncrementalPCA
from tolerance import assert_close

from sklinvariant import AutoPooling, DescriptorSets, SlowFeatures, SparseAutoencoder
from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector
from sklinvariant.feature_extraction import OnDescriptors
from sklinvariant.hashing import (
    PCAHasher,
)

dask = pytest.importorskip("dask", reason="dask is not installed")
da, bag = pytest.importorskip("dask.array"), pytest.importorskip("dask.bag")
RNG = np.random.RandomState(0)
ROWS = RNG.rand(230, 6) @ RNG.rand(6, 6)
HASHERS = moment_hashers(4, SpectralHasher=8)
AGGREGATORS = [
    BagOfWords(5, random_state=0),
    VLAD(5, random_state=0, subsample=100),
    VLAD(5, assignment="soft", random_state=0),
    FisherVector(3, random_state=0),
]
POOLING = [
    AutoPooling(3, random_state=0),
    AutoPooling(3, standardize=False, cross_reconstruction=True, random_state=0),
    AutoPooling(3, solver="sgd", max_epochs=2, random_state=0),
    SlowFeatures(3),
    SlowFeatures(3, degree=2),
]


@pytest.fixture(autouse=True)
def in_this_process():
    with dask.config.set(scheduler="synchronous"):
        yield


def named(model):
    return type(model).__name__


@pytest.fixture
def chunks():
    return (70, 4)  # samples are in several chunks


def assert_same_state(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same_state(state[name], value)
        elif isinstance(value, (np.ndarray, float)):
            assert_close(state[name], value, rtol=1e-5, atol=1e-5)
        else:
            assert state[name] == value


def assert_same_model(fitted, expected):
    assert_same_state(fitted._state, expected._state)
    assert fitted.n_features_in_ == expected.n_features_in_


@pytest.mark.parametrize("model", HASHERS, ids=named)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hashers(model, dtype, chunks):
    X = ROWS.astype(dtype)
    assert_same_model(clone(model).fit(da.from_array(X, chunks=chunks)), model.fit(X))


@pytest.mark.parametrize("model", AGGREGATORS, ids=named)
def test_aggregators_of_descriptors(model):
    X = RNG.rand(40, 6, 3)
    expected = clone(model).fit(X)
    assert_same_model(clone(model).fit(da.from_array(X, chunks=(7, 4, 2))), expected)
    flat = clone(model).set_params(descriptor_dim=3)
    assert_same_model(flat.fit(da.from_array(X.reshape(40, -1), chunks=(9, 5))), clone(flat).fit(X.reshape(40, -1)))


@pytest.mark.parametrize("model", AGGREGATORS, ids=named)
def test_aggregators_of_bags_of_different_sizes(model):
    bags = [RNG.rand(2 + i % 5, 3) for i in range(40)]
    expected = clone(model).fit(bags)
    assert_same_model(clone(model).fit(bag.from_sequence(bags, npartitions=4)), expected)
    blocks = [dask.delayed(bags[:11]), dask.delayed(DescriptorSets.from_bags(bags[11:]))]
    assert_same_model(clone(model).fit(blocks), expected)


@pytest.mark.filterwarnings("ignore:AutoPooling. consecutive rows")
@pytest.mark.filterwarnings("ignore:SlowFeatures. consecutive rows")
@pytest.mark.parametrize("model", POOLING, ids=named)
def test_pairs_of_frames_in_different_blocks_count(model, chunks):
    X, groups = np.abs(ROWS), np.arange(len(ROWS)) // 30
    expected = clone(model).fit(X, groups=groups)
    assert_same_model(clone(model).fit(da.from_array(X, chunks=chunks), groups=groups), expected)
    pairs = np.stack([X[:-1], X[1:]], axis=1)
    assert_same_model(clone(model).fit(da.from_array(pairs, chunks=(50, 1, 3))), clone(model).fit(pairs))


@pytest.mark.parametrize("subsample", [None, 60])
@pytest.mark.parametrize("inner", [PCA(2), PCAHasher(2), KMeans(3, n_init=1, random_state=0)], ids=named)
def test_transformers_of_descriptors(inner, subsample):
    """Also of a sample of them, which is that of the same bags in memory."""
    bags = [RNG.rand(2 + i % 5, 3) for i in range(40)]
    model = OnDescriptors(inner, subsample=subsample, random_state=0)
    expected = clone(model).fit(bags).transform(bags).values
    for X in (bag.from_sequence(bags, npartitions=4), [dask.delayed(bags[:11]), dask.delayed(bags[11:])]):
        assert_close(clone(model).fit(X).transform(bags).values, expected, rtol=1e-5)


def test_fit_transform_is_lazy():
    X = da.from_array(ROWS, chunks=(70, 4))
    codes = PCAHasher(3).fit_transform(X)
    assert isinstance(codes, da.Array)
    np.testing.assert_array_equal(codes.compute(), PCAHasher(3).fit_transform(ROWS))


@pytest.mark.parametrize("model", HASHERS, ids=named)
def test_hashers_in_parts(model, chunks):
    fitted, expected = clone(model), clone(model)
    for part in (ROWS[:90], ROWS[90:]):
        fitted.partial_fit(da.from_array(part, chunks=chunks))
        assert_same_model(fitted, expected.partial_fit(part))


@pytest.mark.parametrize("model", AGGREGATORS, ids=named)
def test_aggregators_in_parts(model):
    bags, fitted, expected = [RNG.rand(2 + i % 5, 3) for i in range(40)], clone(model), clone(model)
    for part in (bags[:25], bags[25:]):
        fitted.partial_fit(bag.from_sequence(part, npartitions=4))
        assert_same_model(fitted, expected.partial_fit(part))


@pytest.mark.filterwarnings("ignore:AutoPooling. consecutive rows")
@pytest.mark.filterwarnings("ignore:SlowFeatures. consecutive rows")
@pytest.mark.parametrize("model", POOLING, ids=named)
def test_pooling_in_parts_of_which_a_clip_continues(model, chunks):
    X, groups, fitted, expected = np.abs(ROWS), np.arange(len(ROWS)) // 60, clone(model), clone(model)
    for part in (slice(100), slice(100, None)):
        fitted.partial_fit(da.from_array(X[part], chunks=chunks), groups=groups[part])
        assert_same_model(fitted, expected.partial_fit(X[part], groups=groups[part]))


def test_a_transformer_of_descriptors_reads_one_block_at_a_time(monkeypatch):
    bags, sizes = RNG.rand(20, 5, 3), []
    expected = OnDescriptors(IncrementalPCA(2)).partial_fit(bags[:8]).partial_fit(bags[8:16]).partial_fit(bags[16:])
    learn = IncrementalPCA.partial_fit
    monkeypatch.setattr(IncrementalPCA, "partial_fit", lambda self, X, y=None: sizes.append(len(X)) or learn(self, X))
    fitted = OnDescriptors(IncrementalPCA(2)).partial_fit(da.from_array(bags, chunks=(8, 5, 3)))
    assert sizes == [40, 40, 20]
    assert_close(fitted.transform(bags).values, expected.transform(bags).values)


@pytest.mark.parametrize("name", ["RBMHasher", "SparseAutoencoder", "IICClusterer", "HammingNeighbors"])
def test_all_others_read_one_block_at_a_time(name):
    model, X, _ = example(name)
    blocks, fitted, expected, learned = [X[:12], X[:0], X[12:]], clone(model), clone(model), []

    def read(block):
        learned.append(hasattr(fitted, "_state"))
        return block

    fitted.partial_fit([dask.delayed(read)(block) for block in blocks])
    assert learned == [False, True, True]  # from the first block before the others are read
    for block in blocks:
        expected = expected.partial_fit(block) if len(block) else expected
    for answer, other in zip(answers(fitted, X), answers(expected, X), strict=True):
        assert_close(answer, other)


def test_a_failing_block_of_a_part_leaves_the_model_as_it_was():
    model = SparseAutoencoder(2, random_state=0).partial_fit(ROWS)
    before = model.components_
    bad = ROWS.copy()
    bad[100] = np.nan
    with pytest.raises(ValueError, match=r"block 2 of X: .*NaN"):
        model.partial_fit(da.from_array(bad, chunks=(50, 6)))
    assert model.components_ is before
    assert model.n_iter_ == 1
    with pytest.raises(ValueError, match=r"X holds 0 sample\(s\) in 2 block"):
        model.partial_fit([dask.delayed(ROWS[:0])] * 2)


def test_blocks_of_unknown_size_and_without_rows():
    X = da.from_array(ROWS, chunks=(70, -1))
    kept = ROWS[:, 0] > np.sort(ROWS[:70, 0])[-1]  # no row of the first block
    assert 0 < kept.sum() < 160
    assert_same_model(PCAHasher(3).fit(X[X[:, 0] > ROWS[:70, 0].max()]), PCAHasher(3).fit(ROWS[kept]))


def test_failing_blocks_leave_the_model_as_it_was():
    def fail(block):
        raise OSError("the disk is gone")

    model = PCAHasher(3).fit(ROWS)
    before = model._state
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(da.from_array(ROWS, chunks=70).map_blocks(fail, dtype=float, meta=ROWS[:0]))
    assert model._state is before


def test_a_single_delayed_array_is_computed():
    assert_same_model(PCAHasher(3).fit(dask.delayed(ROWS)), PCAHasher(3).fit(ROWS))


def test_negative_values_in_a_block_are_refused():
    with pytest.raises(ValueError, match=r"row 75 has -1"):
        AutoPooling(3).fit(da.from_array(np.where(np.arange(230)[:, None] == 75, -1.0, np.abs(ROWS)), chunks=(70, -1)))
