"""What the poolings that learn nothing share: runs of whole bags, and a fit that only checks."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant import GeMPooling, SecondOrderPooling
from sklinvariant.aggregation._moment_pooling import whole_bags


def test_runs_of_whole_bags():
    offsets = np.array([0, 2, 4, 4, 14, 15])
    assert list(whole_bags(offsets, 4, most=9)) == [(0, 3), (3, 4), (4, 5)]
    assert list(whole_bags(offsets, 100, most=2)) == [(0, 2), (2, 4), (4, 5)]
    assert list(whole_bags(offsets, 1, most=1)) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert list(whole_bags(np.array([0, 0, 0]), 1, most=5)) == [(0, 2)]


@pytest.mark.parametrize("model", [GeMPooling(), SecondOrderPooling()])
def test_fit_learns_nothing_but_checks_the_bags(model):
    rng = np.random.RandomState(0)
    bags, others = rng.normal(size=(3, 5, 2)), rng.normal(size=(4, 6, 2))
    assert_close(model.fit(bags).transform(others), model.fit(others).transform(others))
    bags[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="bag 1"):
        model.fit(bags)
