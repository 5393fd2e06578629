"""Synthetic bags: sizes, seeds, and the positions of the descriptors of each class."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant import datasets


def test_concentric_bags_lie_where_their_class_says():
    bags, y = datasets.make_concentric(20, noise=0.0, random_state=0)
    radius = np.linalg.norm(np.asarray(bags), axis=2)
    assert radius[y == 0].max() <= 1 <= radius[y == 1].min()
    assert radius.max() <= 2
    bags, y = datasets.make_checkers(20, noise=0.0, random_state=0)
    signs = np.sign(np.asarray(bags).prod(axis=2))
    assert (signs[y == 0] == 1).all()
    assert (signs[y == 1] == -1).all()


@pytest.mark.parametrize("make", [datasets.make_concentric, datasets.make_checkers])
def test_synthetic(make):
    bags, y = make(10, n_descriptors=7, random_state=1)
    assert bags.shape == (10, 7, 2)
    assert y.sum() == 5
    assert_close(make(10, n_descriptors=7, random_state=1)[0], bags)
