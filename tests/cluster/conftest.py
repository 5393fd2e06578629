"""Fixtures of the clusterers."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs


@pytest.fixture
def blobs(global_random_seed):
    return make_blobs(90, n_features=4, centers=3, cluster_std=0.5, random_state=global_random_seed)


@pytest.fixture
def unequal(global_random_seed):
    """Three blobs of 160, 40 and 16 samples."""
    y = np.repeat(np.arange(3), [160, 40, 16])
    centres = np.array([[0, 0, 0], [5, 0, 0], [0, 5, 0]])
    return centres[y] + 0.5 * np.random.RandomState(global_random_seed).randn(len(y), 3), y


@pytest.fixture
def answers(global_random_seed):
    """Answers of 450 people to 6 questions (450, 6): 1 or little more by two thirds, 3 to 10 by the others."""
    rng = np.random.RandomState(global_random_seed)
    X = np.concatenate([np.minimum(rng.geometric(0.8, (300, 6)), 5), rng.randint(3, 11, (150, 6))])
    return X.astype(np.float32), np.repeat([0, 1], [300, 150])


@pytest.fixture
def small_groups(global_random_seed):
    """60 rows (60, 8) in ten groups of six: most of ten neighbours are in other groups."""
    rng = np.random.RandomState(global_random_seed)
    y = np.arange(60) % 10
    return (5 * rng.normal(size=(10, 8))[y] + rng.normal(size=(60, 8))).astype(np.float32), y
