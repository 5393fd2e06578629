"""Chunks that shrink when a GPU runs out of memory, which is faked here."""

import contextlib

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tolerance import assert_close

import sklinvariant
from sklinvariant import BagOfWords
from sklinvariant.accumulate import Blocks, accumulate
from sklinvariant.aggregation import VLAD
from sklinvariant.cluster import _merged_start
from sklinvariant.hashing import NeighborHasher
from sklinvariant.ops import _nearest, chunk_bytes, chunk_share, in_smaller_chunks, usual_chunks
from sklinvariant.pairs import _nearest_partners, _tensor_search


def lacking(most):
    """A function that has memory for chunks of at most ``most`` values, and the sizes that it was called with."""
    sizes = []

    def check(size):
        sizes.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return size

    return check, sizes


def test_chunks_are_halved_until_they_fit():
    check, sizes = lacking(300)
    with usual_chunks():
        with pytest.warns(RuntimeWarning, match=r"chunks of 1/4 of the usual size") as warned:
            assert in_smaller_chunks(lambda: check(chunk_share(1000))) == 250
        assert len(warned) == 1
        assert sizes == [1000, 500, 250]
        assert chunk_share(1000) == 250  # until the end of the call
        assert chunk_bytes(1000, "cpu") == 250
    assert chunk_share(1000) == 1000


def test_an_error_if_the_smallest_chunks_do_not_fit():
    check, sizes = lacking(0)
    with usual_chunks(), pytest.raises(MemoryError, match=r"CUDA out of memory.* 1/64 of the usual size"):
        in_smaller_chunks(lambda: check(chunk_share(6400)))
    assert sizes == [6400, 3200, 1600, 800, 400, 200, 100]


def test_each_repetition_draws_the_same_random_numbers():
    generator, drawn = torch.Generator().manual_seed(0), []

    def draw():
        drawn.append(torch.rand(3, generator=generator))
        if len(drawn) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with usual_chunks(), pytest.warns(RuntimeWarning):
        in_smaller_chunks(draw, generator)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_other_errors_are_raised_at_once():
    with pytest.raises(KeyError):
        in_smaller_chunks({}.popitem)


def test_sums_are_the_same_in_smaller_blocks():
    x = torch.arange(1000.0)[:, None]
    check, sizes = lacking(100)

    def step(block, state):
        check(len(block))
        return block.sum()

    with usual_chunks(), pytest.warns(RuntimeWarning):
        assert accumulate(step, Blocks(x, size=400)) == 499500
    assert sizes == [400, 200] + [100] * 10


def test_answers_are_the_same_in_smaller_chunks(monkeypatch):
    X = [np.random.RandomState(i).normal(size=(300, 4)) for i in range(3)]
    model = VLAD(3, chunk_size=512, random_state=0).fit(X)
    expected = model.transform(X)
    check, sizes = lacking(200)
    largest = _nearest._largest
    monkeypatch.setattr(_nearest, "_largest", lambda scores: (check(scores.shape[1]), largest(scores))[1])
    with pytest.warns(RuntimeWarning, match="out of memory") as warned:
        assert_close(model.transform(X), expected)
    assert len(warned) == 1
    assert max(sizes[2:]) <= 128
    sizes.clear()
    with pytest.warns(RuntimeWarning):
        model.transform(X)
    assert sizes[0] == 512  # the next call starts with the usual size


@pytest.mark.parametrize("estimator", [BagOfWords(3), VLAD(3)])
def test_a_fit_goes_on_in_smaller_blocks(estimator, monkeypatch):
    X = [np.random.RandomState(i).normal(size=(300, 4)) for i in range(3)]
    estimator.set_params(random_state=0)
    expected = estimator.fit(X).transform(X)
    largest, sizes = _nearest._largest, []

    def scarce(scores):
        sizes.append(scores.shape[1])
        if len(sizes) <= 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return largest(scores)

    monkeypatch.setattr(_nearest, "_largest", scarce)
    with pytest.warns(RuntimeWarning, match="out of memory") as warned:
        estimator.fit(X)
    assert len(warned) == 1
    monkeypatch.undo()
    assert_close(estimator.transform(X), expected)


def test_an_answer_without_memory_says_what_to_do(monkeypatch):
    def fails(scores):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    X = [np.random.RandomState(i).normal(size=(30, 4)) for i in range(3)]
    model = VLAD(3, random_state=0).fit(X)
    monkeypatch.setattr(_nearest, "_largest", fails)
    message = r"VLAD\.transform ran out of memory \(CUDA .* 1/64 of the usual size\)\. Pass fewer samples at a time\.$"
    with pytest.raises(MemoryError, match=message):
        model.transform(X)


@contextlib.contextmanager
def once_without_memory(call):
    """Fake a lack of memory in the ``call``-th pass of a layer without gradients, and count these passes."""
    calls = []

    def count(layer, inputs):
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) and not torch.is_grad_enabled():
            calls.append(layer)
            if len(calls) == call:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield calls
    finally:
        hook.remove()


FITS = {
    "IICClusterer": {"max_epochs": 1, "batch_size": 30},
    "TEMIClusterer": {"max_epochs": 1, "batch_size": 30},
    "TURTLEClusterer": {"max_epochs": 1},
    "IICSegmenter": {"max_epochs": 1, "batch_size": 8},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
def test_a_lack_of_memory_after_the_last_step_keeps_the_fit(name):
    is_rows = name in ("TEMIClusterer", "TURTLEClusterer")
    X = np.random.RandomState(0).uniform(size=(60, 8) if is_rows else (12, 12, 12)).astype(np.float32)
    estimator = getattr(sklinvariant, name)(3, random_state=0, **FITS[name])
    with once_without_memory(None) as calls:
        expected = clone(estimator).fit(X)
    with once_without_memory(len(calls)), pytest.warns(RuntimeWarning, match=r"chunks of 1/2 ") as warned:
        estimator.fit(X)
    assert len([warning for warning in warned if "out of memory" in str(warning.message)]) == 1
    assert_close(estimator.predict_proba(X), expected.predict_proba(X))
    assert np.array_equal(estimator.labels_, expected.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["IICClusterer", "TEMIClusterer"])
@pytest.mark.parametrize("place", ["_search", "_largest"], ids=["neighbours", "merged start"])
def test_a_lack_of_memory_before_the_first_step_keeps_the_fit(name, place, monkeypatch):
    module = {"_search": _nearest_partners, "_largest": _nearest}[place]
    X = np.random.RandomState(0).uniform(size=(60, 8)).astype(np.float32)
    estimator = getattr(sklinvariant, name)(3, random_state=0, **FITS[name])
    expected, usual, calls = clone(estimator).fit(X), getattr(module, place), []

    def scarce(*args):
        calls.append(place)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return usual(*args)

    monkeypatch.setattr(module, place, scarce)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        estimator.fit(X)
    assert_close(estimator.predict_proba(X), expected.predict_proba(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_small_clusters_are_found_in_smaller_parts(monkeypatch):
    X = np.random.RandomState(0).uniform(size=(60, 8)).astype(np.float32)
    monkeypatch.setattr(_merged_start, "_AT_ONCE", 40)
    estimator = sklinvariant.IICClusterer(3, scale="standard", random_state=0, **FITS["IICClusterer"])
    expected, (check, sizes) = clone(estimator).fit(X), lacking(20)
    nearest = _merged_start.nearest_codewords

    def scarce(rows, codebook):
        check(len(rows))
        return nearest(rows, codebook)

    monkeypatch.setattr(_merged_start, "nearest_codewords", scarce)
    with pytest.warns(RuntimeWarning, match=r"chunks of 1/2 "):
        estimator.fit(X)
    assert sizes[0] == 40
    assert_close(estimator.predict_proba(X), expected.predict_proba(X))


def test_neighbours_are_searched_in_smaller_parts(monkeypatch):
    rows = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    expected, (check, sizes) = _tensor_search.search_tensors(rows, 3), lacking(100)
    search = _tensor_search._search_part
    monkeypatch.setattr(_tensor_search, "_ROWS", 200)
    monkeypatch.setattr(_tensor_search, "_search_part", lambda part, *args: (check(len(part)), search(part, *args))[1])
    with usual_chunks(), pytest.warns(RuntimeWarning):
        assert torch.equal(in_smaller_chunks(lambda: _tensor_search.search_tensors(rows, 3)), expected)
    assert sizes == [200, 100, 100, 100]


def test_a_training_step_without_memory_names_what_to_lower(monkeypatch):
    def fails(module, step):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("sklinvariant.training._loop.compiled_or_eager", fails)
    with pytest.raises(MemoryError, match=r"NeighborHasher.fit ran out of memory \(CUDA .*batch_size=1024"):
        NeighborHasher(4, batch_size=1024).fit(np.random.RandomState(0).normal(size=(50, 4)))
