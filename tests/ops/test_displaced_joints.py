"""Joints of displaced predictions against a loop over displacements; gradients; chunks."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.ops import displaced_joints


def _views(seed, n=2, k=3, q=4, h=5, w=6):
    """Two dense predictions; of the second some pixels are missing, some have half the weight."""
    rng = np.random.RandomState(seed)
    first, second = rng.dirichlet(np.ones(k), (n, h, w)), rng.dirichlet(np.ones(q), (n, h, w))
    second = second * rng.choice([0.0, 0.5, 1.0], (n, h, w, 1))
    return [torch.tensor(view.transpose(0, 3, 1, 2).copy()) for view in (first, second)]


def _loop(first, second, d):
    """A displacement and a pixel at a time."""
    first, second = first.numpy(), second.numpy()
    _, k, h, w = first.shape
    joints = np.zeros((2 * d + 1, 2 * d + 1, k, second.shape[1]))
    for down in range(-d, d + 1):
        for right in range(-d, d + 1):
            for y in range(max(0, -down), min(h, h - down)):
                for x in range(max(0, -right), min(w, w - right)):
                    seen = second[:, :, y + down, x + right]
                    joints[d + down, d + right] += first[:, :, y, x].T @ seen
    return joints


@pytest.mark.parametrize("half_window", [0, 1, 2, 7])
@pytest.mark.parametrize("q", [3, 4])
def test_joints_are_those_of_a_loop(half_window, q, global_random_seed):
    first, second = _views(global_random_seed, q=q)
    expected = _loop(first, second, half_window)
    np.testing.assert_allclose(displaced_joints(first, second, half_window).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("half_window", [3, 7])
def test_result_does_not_depend_on_the_chunk(half_window, global_random_seed):
    first, second = _views(global_random_seed)
    whole = displaced_joints(first, second, half_window)
    for max_bytes in (1, 3000, 15_000):
        torch.testing.assert_close(displaced_joints(first, second, half_window, max_bytes), whole)


@pytest.mark.parametrize("half_window", [0, 1, 7])
def test_gradient(half_window, global_random_seed):
    # without missing pixels, because sums that are only rounding errors are set to 0
    views = [(view + 0.1).requires_grad_() for view in _views(global_random_seed, n=1, k=2, q=3, h=2, w=3)]
    assert torch.autograd.gradcheck(lambda a, b: displaced_joints(a, b, half_window), views)


@pytest.mark.parametrize("half_window", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(half_window, dtype, global_random_seed):
    first, second = (view.to(dtype) for view in _views(global_random_seed))
    joints = displaced_joints(first, second, half_window)
    assert joints.dtype == torch.float32
    assert_close(joints, displaced_joints(first.double(), second.double(), half_window))
