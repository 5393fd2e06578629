"""Fixtures of the hashers."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits


@pytest.fixture
def digits():
    return load_digits().data[:600] / 16


@pytest.fixture
def X(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return rng.normal(size=(150, 12)) @ rng.normal(size=(12, 12)) + 3


@pytest.fixture
def small(global_random_seed):
    """A machine small enough to sum over all its states."""
    generator = torch.Generator().manual_seed(global_random_seed)
    weight, b, c = (torch.randn(size, generator=generator, dtype=torch.float64) for size in ((3, 5), (3,), (5,)))
    return weight, b, c
