"""Colours of clusters."""

import numpy as np
import pytest

from sklinvariant.inspection import palette


@pytest.mark.parametrize("n", [1, 10, 25, 26, 60])
def test_colours_differ(n):
    colours = palette(n)
    assert colours.shape == (n, 3)
    assert ((colours >= 0) & (colours <= 1)).all()
    assert len(np.unique(colours, axis=0)) == n
