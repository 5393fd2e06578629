"""The comparisons that other tests rely on can fail."""

import numpy as np
import pytest
import torch
from tolerance import assert_close, assert_same_labels

from sklinvariant import DescriptorSets

VALUES = np.array([[1.0, -200.0], [1e-6, 3.0]])


@pytest.mark.parametrize(
    ("dtype", "rounding", "wrong"), [(np.float16, 1e-3, 0.1), (np.float32, 1e-6, 1e-3), (np.float64, 1e-13, 1e-8)]
)
def test_close_but_for_rounding(dtype, rounding, wrong):
    assert_close((VALUES * (1 + rounding)).astype(dtype), VALUES)
    with pytest.raises(AssertionError):
        assert_close((VALUES * (1 + wrong)).astype(dtype), VALUES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_tensors(dtype):
    tensor = torch.tensor(VALUES, dtype=dtype, requires_grad=True)
    assert_close(tensor, tensor * (1 + 1e-13))
    with pytest.raises(AssertionError):
        assert_close(tensor, 2 * tensor)


@pytest.mark.parametrize(
    "wrong",
    [
        np.add(VALUES, [[0, 0], [0, 1e-3]]),
        VALUES[:, ::-1],
        -VALUES,
        VALUES[:1],
        VALUES.ravel(),
        np.where(VALUES == 3, np.nan, VALUES),
        np.where(VALUES == 3, np.inf, VALUES),
        np.zeros_like(VALUES),
    ],
)
def test_what_is_not_close(wrong):
    with pytest.raises(AssertionError):
        assert_close(wrong, VALUES)


def test_a_number_is_not_an_array():
    with pytest.raises(AssertionError, match="shapes differ"):
        assert_close(np.ones(3), 1.0)


def test_values_that_are_not_finite_must_be_the_same():
    values = np.array([np.nan, np.inf, 1.0])
    assert_close(values, values.copy())
    with pytest.raises(AssertionError):
        assert_close(-values, values)


def test_given_tolerances():
    assert_close(VALUES + 1, VALUES, rtol=1e-2)
    assert_close(VALUES + 1, VALUES, atol=1.1)
    for tolerance in ({"rtol": 1e-3}, {"atol": 0.9}):
        with pytest.raises(AssertionError):
            assert_close(VALUES + 1, VALUES, **tolerance)


def test_bags_are_compared_by_size_too():
    bags = DescriptorSets(VALUES, [0, 1, 2])
    assert_close(DescriptorSets(VALUES * (1 + 1e-13), [0, 1, 2]), bags)
    for wrong in (DescriptorSets(VALUES * 2, [0, 1, 2]), DescriptorSets(VALUES, [0, 2, 2])):
        with pytest.raises(AssertionError):
            assert_close(wrong, bags)


SCORES = np.array([[0.2, 0.8], [0.9, 0.1], [0.50001, 0.49999]])


def test_labels_may_differ_at_a_tie_only():
    assert_same_labels([1, 0, 1], [1, 0, 0], SCORES)
    assert_same_labels(np.array(["b", "a", "b"]), np.array(["b", "a", "a"]), torch.as_tensor(SCORES))
    with pytest.raises(AssertionError):
        assert_same_labels([0, 0, 0], [1, 0, 0], SCORES)
    with pytest.raises(AssertionError):
        assert_same_labels([1, 0, 1], [1, 0, 0], SCORES, margin=1e-6)
    with pytest.raises(AssertionError, match="shapes differ"):
        assert_same_labels([1, 0], [1, 0, 0], SCORES)


def test_bits_may_differ_near_0_only():
    scores = np.array([[5.0, -3.0], [1e-9, -4.0]])
    assert_same_labels([[1, 0], [0, 0]], [[1, 0], [1, 0]], scores)
    with pytest.raises(AssertionError):
        assert_same_labels([[1, 1], [1, 0]], [[1, 0], [1, 0]], scores)


def test_ties_everywhere_are_no_comparison():
    with pytest.raises(AssertionError, match="too few samples are clear"):
        assert_same_labels([1, 1, 1], [0, 0, 0], np.ones((3, 2)))
