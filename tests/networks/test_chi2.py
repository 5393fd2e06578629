"""The χ² map against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.kernel_approximation import AdditiveChi2Sampler

from sklinvariant.networks._chi2 import chi2_map


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_chi2_map(steps):
    x = np.random.RandomState(0).rand(6, 5)
    x[0, 0] = 0
    expected = AdditiveChi2Sampler(sample_steps=steps).fit_transform(x)
    np.testing.assert_allclose(chi2_map(torch.tensor(x), steps).numpy(), expected)
    positive = torch.tensor(x[1:] + 0.01, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: chi2_map(x, steps), (positive,))


def test_chi2_map_of_zero_has_no_gradient():
    x = torch.zeros(1, 2, requires_grad=True)
    chi2_map(x).sum().backward()
    assert (x.grad == 0).all()
