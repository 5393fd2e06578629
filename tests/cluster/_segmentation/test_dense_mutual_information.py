"""Information of displaced predictions against a loop over displacements, and its gradient."""

import numpy as np
import pytest
import torch

from sklinvariant.cluster._segmentation._dense_mutual_information import (
    dense_information,
    dense_joints,
    pooled_joint,
)
from sklinvariant.ops import joint_information


def _views(seed, n=2, k=3, q=None, h=5, w=6):
    """Two dense predictions; of the second some pixels are not there, some only half."""
    rng = np.random.RandomState(seed)
    first, second = rng.dirichlet(np.ones(k), (n, h, w)), rng.dirichlet(np.ones(q or k), (n, h, w))
    second = second * rng.choice([0.0, 0.5, 1.0], (n, h, w, 1))
    return [torch.tensor(view.transpose(0, 3, 1, 2).copy()) for view in (first, second)]


def _loop(first, second, d):
    """Equation 5, a displacement, an image and a pixel at a time."""
    first, second = first.numpy(), second.numpy()
    n, _, h, w = first.shape
    joints = np.zeros((2 * d + 1, 2 * d + 1, first.shape[1], second.shape[1]))
    for down in range(-d, d + 1):
        for right in range(-d, d + 1):
            for i in range(n):
                for y in range(max(0, -down), min(h, h - down)):
                    for x in range(max(0, -right), min(w, w - right)):
                        there = second[i, :, y + down, x + right]
                        joints[d + down, d + right] += np.outer(first[i, :, y, x], there)
    return joints


def _information(joint, weight=1.0):
    """Equation 3, a pair of clusters at a time."""
    joint = (joint + joint.T) / 2
    if joint.sum() == 0:
        return 0.0
    joint = joint / joint.sum()
    marginal = joint.sum(1)
    value = 0.0
    for a, b in np.argwhere(joint > 0):
        value += joint[a, b] * (np.log(joint[a, b]) - weight * np.log(marginal[a]) - weight * np.log(marginal[b]))
    return value


@pytest.mark.parametrize("half_window", [0, 1, 2, 7])
@pytest.mark.parametrize("q", [3, 4])
def test_pooled_joint_is_that_of_a_loop(half_window, q, global_random_seed):
    first, second = _views(global_random_seed, q=q)
    expected = _loop(first, second, half_window).sum((0, 1))
    np.testing.assert_allclose(pooled_joint(first, second, half_window).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("weight", [1.0, 1.5])
@pytest.mark.parametrize("half_window", [1, 6, 8])
def test_information_is_that_of_a_loop(weight, half_window, global_random_seed):
    first, second = _views(global_random_seed)
    joints = _loop(first, second, half_window)
    each = [_information(joint, weight) for row in joints for joint in row]
    result = dense_information(first, second, half_window, entropy_weight=weight)
    assert result.item() == pytest.approx(np.mean(each), abs=1e-10)
    result = dense_information(first, second, half_window, average="joint", entropy_weight=weight)
    assert result.item() == pytest.approx(_information(joints.sum((0, 1)), weight), abs=1e-10)


@pytest.mark.parametrize("average", ["information", "joint"])
@pytest.mark.parametrize("half_window", [1, 7])
def test_gradient(average, half_window, global_random_seed):
    # all pixels there: x ln x has no slope at the 0 of a displacement that only masked pixels allow
    views = [(view + 0.1).requires_grad_() for view in _views(global_random_seed, n=1, k=2, h=3, w=4)]
    assert torch.autograd.gradcheck(lambda a, b: dense_information(a, b, half_window, average=average), views)


def test_information_of_known_joints():
    perfect = torch.eye(4, dtype=torch.float64)
    assert joint_information(perfect).item() == pytest.approx(np.log(4))
    assert joint_information(torch.ones(4, 4)).item() == pytest.approx(0, abs=1e-5)
    assert joint_information(torch.zeros(4, 4)).item() == pytest.approx(0, abs=1e-6)
    assert joint_information(torch.stack([perfect, 5 * perfect])).shape == (2,)


def test_half_precision_is_computed_in_float32():
    joint = torch.eye(3, dtype=torch.bfloat16)
    assert joint_information(joint).dtype == torch.float32


@pytest.mark.parametrize("average", ["information", "joint"])
def test_joints_add_up(average, global_random_seed):
    first, second = _views(global_random_seed, n=4)
    whole = dense_joints(first, second, 2, average=average)
    parts = [dense_joints(a, b, 2, average=average) for a, b in zip(first.split(3), second.split(3), strict=True)]
    torch.testing.assert_close(sum(parts), whole)
    expected = dense_information(first, second, 2, average=average)
    torch.testing.assert_close(joint_information(whole).mean(), expected)


def test_order_of_images_does_not_matter(global_random_seed):
    first, second = _views(global_random_seed, n=4)
    order = [2, 0, 3, 1]
    expected = dense_information(first, second, 2)
    torch.testing.assert_close(dense_information(first[order], second[order], 2), expected)


def test_same_on_the_device(device, global_random_seed):
    first, second = _views(global_random_seed)
    result = dense_information(first.to(device), second.to(device), 2)
    torch.testing.assert_close(result.cpu(), dense_information(first, second, 2))
