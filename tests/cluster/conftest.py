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
