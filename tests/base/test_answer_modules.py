"""The small modules from which answers are built."""

import numpy as np
import pytest
import torch

from sklinvariant.base import Affine, Function, Labels


def test_affine_computes_along_the_last_axis():
    x = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0))
    weight, bias, shift, scale = np.ones((2, 3)), np.array([1.0, 2.0]), np.array([0.1, 0.2, 0.3]), np.array([1.0, 2, 4])
    given = Affine(weight, bias, shift, scale).float()(x).numpy()
    np.testing.assert_allclose(given, (x.numpy() - shift) / scale @ weight.T + bias, rtol=1e-6)
    assert Affine()(x) is x


def test_affine_has_no_empty_buffers():
    """torch.export does not accept them."""
    assert [name for name, _ in Affine(scale=np.ones(2)).named_buffers()] == ["scale"]


def test_a_function_holds_its_tensors():
    module = Function(torch.add, other=np.array([1.0, 2.0]))
    assert module(torch.zeros(2)).tolist() == [1, 2]
    assert module.float().other.dtype == torch.float32


def test_labels_are_classes():
    labels = Labels(torch.nn.Identity(), np.array([3, 5, 9]))
    assert labels(torch.tensor([[0.0, 2, 1], [5, 2, 1]])).tolist() == [5, 3]
    assert Labels(torch.nn.Identity(), np.array([3, 5]))(torch.tensor([-1.0, 0, 2])).tolist() == [3, 3, 5]


def test_labels_must_be_numbers():
    with pytest.raises(ValueError, match=r"classes are not numbers, such as 'cat', .*classes_"):
        Labels(torch.nn.Identity(), np.array(["cat", "dog"]))
