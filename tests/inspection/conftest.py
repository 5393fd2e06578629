"""Fixtures of the displays."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(autouse=True)
def plain_figures(pyplot):
    """Displays are drawn with the settings of matplotlib."""


@pytest.fixture
def pooling():
    """Component 0 pools the upper left on map 2 and a little on map 0; 1 pools the last row of all maps; 2 nothing."""
    weights = np.zeros((3, 4, 5, 3))
    weights[0, :2, :2, 2] = 1.0
    weights[0, :1, :1, 0] = 0.5
    weights[1, 3] = 2.0
    return SimpleNamespace(components_=weights.reshape(3, -1))


@pytest.fixture
def digits():
    """300 rows of 8 x 8 pixels, and their classes."""
    X, y = load_digits(return_X_y=True)
    return X[:300], y[:300]
