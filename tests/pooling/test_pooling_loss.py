"""Auto-pooling's loss and its projected descent."""

import pytest
import torch

from sklinvariant.pooling._pooling_loss import PoolingLoss, ProjectedSGD, pair_curvature


def _pairs():
    return torch.rand(30, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("cross", [False, True])
def test_gradcheck(cross):
    loss, pairs = PoolingLoss(_pairs()[:3, 0], 0.7, cross), _pairs()

    def function(components):
        return torch.func.functional_call(loss, {"components": components}, (pairs,))

    assert torch.autograd.gradcheck(function, loss.components)


def test_steps_are_projected():
    loss, pairs = PoolingLoss(_pairs()[:3, 0], 0.7), _pairs()
    optimizer = ProjectedSGD(loss.parameters(), lr=100.0)
    loss(pairs).backward()
    expected = (loss.components - 100 * loss.components.grad).clamp(min=0).detach()
    optimizer.step()
    torch.testing.assert_close(loss.components.detach(), expected)
    assert bool((expected == 0).any())


def test_curvature():
    """The second derivative of J along v at P = p v, for the leading v of S and the best p, where S_Δ = 0."""
    pairs = _pairs()[:, :1].expand(-1, 2, -1)
    moment = pairs.flatten(0, 1).T @ pairs.flatten(0, 1) / len(pairs)
    values, vectors = torch.linalg.eigh(moment)
    v = vectors[:, -1:].T

    def along(p):
        return PoolingLoss(p * v, 3.0)(pairs).item()

    h = 1e-3
    bend = (along(1 + h) - 2 * along(1.0) + along(1 - h)) / h**2
    assert pair_curvature(pairs, 3.0) == pytest.approx(bend, rel=1e-4)
    assert pair_curvature(torch.zeros(4, 2, 3), 1.0) == 0
    moved = torch.stack([pairs[:, 0], torch.zeros_like(pairs[:, 0])], 1)
    assert pair_curvature(moved, 3.0) == pytest.approx(float(7 * values[-1] / 2), rel=1e-6)
