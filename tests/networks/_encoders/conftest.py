"""Bags of descriptors, and parameters of encoders, in units other than 1."""

import numpy as np
import pytest
import torch

from sklinvariant.networks import Bags, Units


@pytest.fixture
def units():
    return Units(np.array([1.0, -2.0, 0.5]), 3.0)


@pytest.fixture
def bags(units, global_random_seed):
    """Arrays of 4, 0, 7 and 1 descriptors."""
    rng = np.random.RandomState(global_random_seed)
    return [units.shift + units.scale * rng.normal(size=(size, 3)) for size in (4, 0, 7, 1)]


@pytest.fixture
def as_input():
    """The function that makes the input of an encoder from a list of arrays."""

    def joined(bags):
        offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])])
        return Bags(torch.as_tensor(np.concatenate(bags)), offsets)

    return joined


@pytest.fixture
def parts(units, global_random_seed):
    """Codewords, covariances and γ, in units of the data."""
    rng = np.random.RandomState(global_random_seed + 1)
    return units.shift + units.scale * rng.normal(size=(4, 3)), rng.uniform(0.5, 2, (4, 3)), 0.2
