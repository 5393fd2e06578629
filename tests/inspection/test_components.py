"""Which components are drawn, and which maps of each."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklinvariant.inspection._components import chosen_components, strongest_maps


class Pooling:
    components_ = np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])


@pytest.mark.parametrize(
    ("components", "expected"), [(2, [1, 2]), (9, [1, 2, 0]), ([0, 2], [0, 2]), (np.int64(1), [1])]
)
@pytest.mark.parametrize("estimator", [Pooling(), make_pipeline(StandardScaler(), Pooling())])
def test_the_largest_components_or_those_that_are_given(estimator, components, expected):
    chosen, weights = chosen_components(estimator, components)
    assert chosen.tolist() == expected
    np.testing.assert_array_equal(weights, Pooling.components_[expected])


@pytest.mark.parametrize(
    ("components", "message"),
    [(0, "selects no components"), ([], "selects no components"), (["a"], "selects no components"), ([3], "0 to 2")],
)
def test_components_that_are_not_there(components, message):
    with pytest.raises(ValueError, match=message):
        chosen_components(Pooling(), components)


def test_the_maps_of_the_largest_weights_come_first():
    weights = np.array([[[1, 5, 0], [1, 0, 3]], [[0, 0, 1], [9, 0, 0]]], float)  # (n, p, k): sums (2, 5, 3), (9, 0, 1)
    assert strongest_maps(weights, 2).tolist() == [[1, 2], [0, 2]]
    assert strongest_maps(weights, 9).tolist() == [[1, 2, 0], [0, 2, 1]]
