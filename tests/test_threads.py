"""Many fits at a time: the same models as one after the other, and nobody's random numbers are touched."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from sklearn.base import clone
from test_global_settings import answers, assert_same_answers

N_THREADS = 8


def in_threads(function):
    """What a function answers in each of several threads that start together."""
    gate = threading.Barrier(N_THREADS)

    def run(_):
        gate.wait()
        return function()

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(run, range(N_THREADS)))


def global_states():
    kind, keys, *rest = np.random.get_state()
    return torch.default_generator.get_state().tolist(), kind, keys.tolist(), rest


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_global_generators_are_neither_read_nor_moved(name):
    found = []
    for seed in (1, 2):
        seed_all(seed)
        before = global_states()
        found.append(answers(*example(name)))
        assert global_states() == before
    assert_same_answers(*found)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fits_in_threads_give_the_model_of_one(name):
    estimator, X, y = example(name)
    expected = answers(clone(estimator), X, y)
    before = global_states()
    for actual in in_threads(lambda: answers(clone(estimator), X, y)):
        assert_same_answers(actual, expected)
    assert global_states() == before
