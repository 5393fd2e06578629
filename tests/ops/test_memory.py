"""Chunks that shrink when a GPU runs out of memory, which is faked here."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant import BagOfWords
from sklinvariant.accumulate import Blocks, accumulate
from sklinvariant.aggregation import VLAD
from sklinvariant.hashing import NeighborHasher
from sklinvariant.ops import _nearest, chunk_bytes, chunk_share, in_smaller_chunks, usual_chunks


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
        with pytest.warns(RuntimeWarning, match=r"chunks of 1/(2|4) of the usual size") as warned:
            assert in_smaller_chunks(lambda: check(chunk_share(1000))) == 250
        assert len(warned) == 2
        assert sizes == [1000, 500, 250]
        assert chunk_share(1000) == 250  # until the end of the call
        assert chunk_bytes(1000, "cpu") == 250
    assert chunk_share(1000) == 1000


def test_an_error_if_the_smallest_chunks_do_not_fit():
    check, sizes = lacking(0)
    with usual_chunks(), pytest.warns(RuntimeWarning), pytest.raises(MemoryError, match="CUDA out of memory"):
        in_smaller_chunks(lambda: check(chunk_share(6400)))
    assert sizes == [6400, 3200, 1600, 800, 400, 200, 100]


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
    assert len(warned) == 2
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
    assert len(warned) == 2
    monkeypatch.undo()
    assert_close(estimator.transform(X), expected)


def test_a_training_step_without_memory_names_what_to_lower(monkeypatch):
    def fails(module, step):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("sklinvariant.training._loop.compiled_or_eager", fails)
    with pytest.raises(MemoryError, match=r"NeighborHasher.fit ran out of memory \(CUDA .*batch_size=1024"):
        NeighborHasher(4, batch_size=1024).fit(np.random.RandomState(0).normal(size=(50, 4)))
