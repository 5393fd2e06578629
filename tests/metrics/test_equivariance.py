"""The equivariance error: its value, and bad input."""

import numpy as np
import pytest
import torch

from sklinvariant.metrics import equivariance_error
from sklinvariant.networks import Group


def test_equivariance_error_refuses_channels_first():
    with pytest.raises(ValueError, match="channels first"):
        equivariance_error(torch.nn.Identity(), "C4", np.zeros((2, 3, 8, 8)))


@pytest.mark.parametrize("group", ["C4", "D4"])
def test_the_error_is_a_loop_over_the_group(group, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    images, elements = rng.rand(3, 6, 6), Group(group)
    convolution = torch.nn.Conv2d(1, 2, 3, padding=1, dtype=torch.float64)
    x = torch.as_tensor(images)[:, None]
    with torch.no_grad():
        answer = convolution(x)
        expected = [
            float((convolution(elements.act(x, g)) - elements.act(answer, g)).norm() / answer.norm())
            for g in range(elements.order)
        ]
    errors = equivariance_error(convolution, group, images, output="image", per_element=True)
    np.testing.assert_allclose(errors, expected, atol=1e-12)
    assert equivariance_error(convolution, group, images, output="image") == pytest.approx(max(expected))
    assert errors[0] == 0


def test_invariant_features_have_no_error():
    images = np.random.RandomState(0).rand(3, 6, 6)
    assert equivariance_error(lambda x: x.mean((2, 3)), "C4", images, output="invariant") < 1e-12
    assert equivariance_error(lambda x: x[:, :, 0, 0], "C4", images, output="invariant") > 0.1
    assert equivariance_error(torch.zeros_like, "C4", images, output="image") == 0


@pytest.mark.parametrize(
    ("module", "images", "message"),
    [
        (torch.nn.Identity(), np.zeros((2, 6, 5)), "require square images"),
        (torch.nn.Identity(), np.zeros((2, 6, 6)), 'output="group" does not accept'),
        (lambda x: x[:, :, : 3 + int(x.sum() > 18)], np.arange(72.0).reshape(2, 6, 6) / 72, "does not accept"),
    ],
)
def test_bad_input(module, images, message):
    with pytest.raises(ValueError, match=message):
        equivariance_error(module, "C4", images)
