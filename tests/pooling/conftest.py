"""Fixtures of the poolers of video."""

import numpy as np
import pytest

CLIPS = [30, 1, 20, 2, 47]


@pytest.fixture
def frames(global_random_seed):
    """(100, 12): three objects that appear and disappear slowly, each with random weights of its four features."""
    rng = np.random.RandomState(global_random_seed)
    amounts = np.concatenate([_slow(rng, m, np.roll([2.0, 0.2, 0.2], i)) for i, m in enumerate(CLIPS)])
    X = rng.rand(len(amounts), 12) * 0.05
    for i in range(3):
        X[:, 4 * i : 4 * i + 4] += amounts[:, i : i + 1] * rng.dirichlet(np.ones(4), len(X))
    return X


def _slow(rng, m, start):
    return np.abs(start + 0.1 * rng.normal(size=(m, 3)).cumsum(0))
