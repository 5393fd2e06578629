"""Fits to an iterable of blocks: which estimators accept one, and that they learn what the samples in memory teach."""

import itertools

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from sklearn.base import clone
from tolerance import assert_close

from sklinvariant import AutoPooling, IICClusterer, SlowFeatures
from sklinvariant.aggregation import VLAD
from sklinvariant.base import ArrayKind, Input
from sklinvariant.base._block_input import read_stream
from sklinvariant.datasets import read_blocks
from sklinvariant.hashing import ITQHasher, PCAHasher

FRAMES = np.abs(np.random.RandomState(0).normal(size=(300, 5)).cumsum(0))
POOLING = [
    AutoPooling(3, random_state=0),
    AutoPooling(3, standardize=False, cross_reconstruction=True, random_state=0),
    SlowFeatures(3),
    SlowFeatures(3, degree=2),
]
poolings = pytest.mark.parametrize("model", POOLING, ids=lambda model: type(model).__name__)
STREAMED = {"AutoPooling", "SlowFeatures", "BagOfWords", "VLAD", "FisherVector", "OnDescriptors", "HammingNeighbors"}
STREAMED |= {"BilinearHasher", "ITQHasher", "LSHHasher", "PCAHasher", "SignHasher", "SKLSHHasher", "SpectralHasher"}
TAKES_Y = {"IICClassifier", "OverclusteringClassifier"} | {name for name in ESTIMATORS if name.startswith("Learned")}


def blocks_of(X, bounds=(0, 1, 2, 2, 90, 91, 300)):
    """The rows of X in blocks, some of one row or of none."""
    return (X[start:stop] for start, stop in itertools.pairwise(bounds))


def assert_same_model(fitted, expected, **tolerance):
    assert fitted._state.keys() == expected._state.keys()
    for name, value in expected._state.items():
        if isinstance(value, np.ndarray):
            assert_close(fitted._state[name], value, **tolerance)
        else:
            assert fitted._state[name] == value
    assert fitted.n_features_in_ == expected.n_features_in_


@poolings
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_of_frames_in_different_blocks_count(model, dtype):
    X = FRAMES.astype(dtype)
    assert_same_model(clone(model).fit(blocks_of(X)), clone(model).fit(X), rtol=1e-5, atol=1e-5)
    tensors = map(torch.from_numpy, blocks_of(X))
    assert_close(clone(model).fit(tensors).transform(X), clone(model).fit(X).transform(X), rtol=1e-4, atol=1e-4)


@poolings
def test_blocks_of_pairs(model):
    pairs = np.stack([FRAMES[:-1:3], FRAMES[1::3]], axis=1)
    fitted = clone(model).fit(blocks_of(pairs, (0, 3, 3, 100)))
    assert_same_model(fitted, clone(model).fit(pairs), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="block 1 of X: an iterable must contain only rows, or only pairs"):
        clone(model).fit(iter([FRAMES, pairs]))


@poolings
def test_a_folder_of_files_is_a_clip(model, tmp_path):
    np.save(tmp_path / "1.npy", FRAMES[:120])
    np.save(tmp_path / "2.npy", FRAMES[120:])
    blocks = read_blocks(tmp_path, block_size=50)
    for _ in range(2):
        assert_same_model(clone(model).fit(blocks), clone(model).fit(FRAMES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("scale", [2.0**-400, 2.0**400])
def test_a_stream_that_begins_with_still_frames(degree, scale):
    X = np.concatenate([np.repeat(FRAMES[:1], 20, 0), FRAMES])
    fitted = SlowFeatures(3, degree=degree).fit(blocks_of(X * scale, (0, 10, 20, 30, 320)))
    expected = SlowFeatures(3, degree=degree).fit(X)
    assert_close(fitted.slowness_, expected.slowness_, rtol=1e-6)
    assert_close(fitted.transform(X * scale), expected.transform(X), rtol=1e-5, atol=1e-5)


def test_partial_fit_continues_a_stream():
    later = FRAMES[::-1].copy()
    for model in POOLING:
        parts = clone(model).fit(blocks_of(FRAMES)).partial_fit(later)
        expected = clone(model).fit(FRAMES).partial_fit(later)
        assert_same_model(parts, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [POOLING[0], POOLING[2]], ids=lambda model: type(model).__name__)
def test_streams_of_frames_that_cannot_be_used(model):
    model = clone(model).fit(FRAMES)
    state = model._state
    with pytest.raises(ValueError, match="groups cannot be given if X is an iterable, a generator"):
        model.fit(blocks_of(FRAMES), groups=np.zeros(300))
    with pytest.raises(ValueError, match=r"no pair of consecutive frames .* n_samples=1\."):
        model.fit(iter([FRAMES[:0], FRAMES[:1]]))
    bad = FRAMES.copy()
    bad[95, 2] = np.nan
    with pytest.raises(ValueError, match=r"block 5 of X: .*NaN"):
        model.fit(blocks_of(bad))
    with pytest.raises(ValueError, match="block 1 of X has 4 features, but block 0 has 5"):
        model.fit(iter([FRAMES, FRAMES[:, :4]]))
    with pytest.raises(ValueError, match=r"X is an iterable, a generator, .*one by one"):
        model.partial_fit(blocks_of(FRAMES))
    assert model._state is state


def test_negative_features_of_a_block():
    with pytest.raises(ValueError, match=r"block 3 of X: Negative values .* row 5 has -1"):
        AutoPooling(3).fit(blocks_of(np.where(np.arange(300)[:, None] == 7, -1.0, FRAMES)))


def test_shuffled_frames_in_blocks_raise_a_warning():
    shuffled = np.random.RandomState(0).normal(size=(300, 5))
    with pytest.warns(UserWarning, match="consecutive rows are no more alike"):
        SlowFeatures(2).fit(blocks_of(shuffled))


def test_sgd_reads_frames_several_times():
    for solver in ("sgd", "auto"):
        X = FRAMES if solver == "sgd" else np.ones((3, 8193), np.float32)
        with pytest.raises(ValueError, match=r'AutoPooling.fit needs rows .* memory-mapped .* or set solver="moment"'):
            AutoPooling(2, solver=solver, max_epochs=1).fit(iter([X]))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_what_needs_all_samples_says_how_to_map_them(name):
    estimator, X, y = example(name)
    targets = [y] if name in TAKES_Y else []
    if name in STREAMED:
        assert estimator.fit(iter([X[:12], X[12:]]), *targets).n_features_in_ > 0
        return
    of_images = r"a list of images, such as list\(X\), or " if estimator._reader.takes_files else ""
    match = rf"X is an iterable, a list_iterator, but {name}.fit needs .*Pass {of_images}a memory-mapped array"
    match += ", or its blocks one by one to partial_fit" if hasattr(estimator, "partial_fit") else ""
    with pytest.raises(ValueError, match=match.replace("array, or", "array.*, or")):
        estimator.fit(iter([X[:12], X[12:]]), *targets)


@pytest.mark.parametrize("method", ["fit_transform", "fit_predict"])
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_stream_is_not_fitted_and_answered_in_one_call(name, method):
    estimator, X, _ = example(name)
    if not hasattr(estimator, method):
        return
    blocks = iter([X[:12], X[12:]])
    ways = f"Call fit with it, and then {method.removeprefix('fit_')}" if name in STREAMED else "Pass .*a memory-mapped"
    with pytest.raises(ValueError, match=rf"X is an iterable, a list_iterator, but {name}.*{ways}"):
        getattr(estimator, method)(X=blocks)
    assert len(list(blocks)) == 2  # none has been read
    assert not hasattr(estimator, "_state")


@pytest.mark.parametrize("name", [name for name, cls in ESTIMATORS.items() if hasattr(cls, "partial_fit")])
def test_partial_fit_refuses_parts_without_samples(name):
    estimator, X, y = example(name)
    if not hasattr(estimator, "partial_fit"):  # that of the estimator it contains
        return
    y = () if name == "HammingNeighbors" else (y,)
    with pytest.raises(ValueError, match=r"0 sample|no label"):
        clone(estimator).partial_fit(X[:0], *(labels[:0] for labels in y))
    model = estimator.partial_fit(X, *y)
    state = model._state
    with pytest.raises(ValueError, match=r"0 sample|no label"):
        model.partial_fit(X[:0], *(labels[:0] for labels in y))
    assert model._state is state


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32), (np.uint8, np.float64)])
@pytest.mark.parametrize("model", [PCAHasher(3), ITQHasher(3, random_state=0), SlowFeatures(3), POOLING[0]])
def test_blocks_of_several_dtypes_are_computed_in_the_widest(model, dtypes):
    X = FRAMES.round()  # the same numbers in all dtypes
    blocks = [X[:100].astype(dtypes[0]), X[100:].astype(dtypes[1])]
    assert_same_state(clone(model).fit(iter(blocks))._state, clone(model).fit(X)._state)


def assert_same_state(state, expected):
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same_state(state[name], value)
        elif isinstance(value, np.ndarray):
            assert state[name].dtype == value.dtype, name
            assert_close(state[name], value, rtol=1e-6, atol=1e-6)


def test_bags_of_several_dtypes_are_computed_in_the_widest():
    X = np.random.RandomState(0).rand(40, 5, 3)
    model = VLAD(3, random_state=0).fit(iter([X[:20].astype(np.float32), X[20:]]))
    assert model.codebook_.dtype == np.float64
    assert_close(model.codebook_, VLAD(3, random_state=0).fit(X).codebook_, rtol=1e-5)


class Reads:
    """Reads each block, (device, dtype), as rows of 0."""

    n_features_in_ = 2

    def _read(self, block, reset):
        device, dtype = block
        return Input(torch.zeros(1, 2, dtype=dtype), ArrayKind(np.empty(0)), torch.device(device), dtype)


def test_blocks_are_computed_on_the_first_device_in_the_widest_dtype():
    blocks = [("cpu", torch.float32), ("meta", torch.float64), ("cpu", torch.float32)]
    inputs = list(read_stream(Reads(), blocks))
    assert [given.device.type for given in inputs] == ["cpu", "cpu", "cpu"]
    assert [given.dtype for given in inputs] == [torch.float32, torch.float64, torch.float64]


def test_an_input_that_cannot_be_used_is_named():
    def check(given):
        if given.dtype == torch.float64:
            raise ValueError("no float64")

    with pytest.raises(ValueError, match="block 1 of X: no float64"):
        list(read_stream(Reads(), [("cpu", torch.float32), ("cpu", torch.float64)], check))


def test_blocks_without_values_and_iterables_of_iterables():
    X = np.random.RandomState(0).rand(9, 3)
    with pytest.raises(ValueError, match="block 1 of X: X is on the meta device"):
        PCAHasher(2).fit(iter([torch.from_numpy(X), torch.empty(4, 3, device="meta")]))
    with pytest.raises(ValueError, match="block 0 of X: X is an iterable, a iterator"):
        PCAHasher(2).fit(iter([iter(X)]))


def test_a_generator_function_is_called():
    X = np.random.RandomState(0).rand(60, 4)

    def read():
        yield X[:25]
        yield X[25:]

    np.testing.assert_array_equal(PCAHasher(3).fit(read).transform(X), PCAHasher(3).fit(read()).transform(X))
    with pytest.raises(ValueError, match=r"X is an iterable, a generator function, but IICClusterer.fit needs"):
        IICClusterer(2).fit(read)
