"""Fixtures of the hashers."""

import numpy as np
import pytest


@pytest.fixture
def X(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return rng.normal(size=(150, 12)) @ rng.normal(size=(12, 12)) + 3
