"""Fixtures of the clusterers."""

import pytest
from sklearn.datasets import make_blobs


@pytest.fixture
def blobs(global_random_seed):
    return make_blobs(90, n_features=4, centers=3, cluster_std=0.5, random_state=global_random_seed)
