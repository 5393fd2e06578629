"""The objective of auto-pooling on a batch of pairs of frames, and projected gradient descent."""

from typing import Any

import torch
from torch import nn

from sklinvariant._distributed import whole_mean
from sklinvariant.pooling._pair_moments import pooling_errors


class PoolingLoss(nn.Module):
    """J = λ J₁ + J₂ of Sukhbaatar et al. (2013). The matrix P (k, d) is the parameter ``components``."""

    def __init__(self, components: torch.Tensor, invariance: float, cross: bool = False) -> None:
        super().__init__()
        self.components = nn.Parameter(components.clone())
        self.invariance, self.cross = invariance, cross

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """The mean of J over pairs (b, 2, d)."""
        change, missed = pooling_errors(pairs[:, 0], pairs[:, 1], self.components, self.cross)
        return whole_mean((self.invariance * change + missed) / len(pairs))


class ProjectedSGD(torch.optim.SGD):
    """Stochastic gradient descent that sets negative parameters to 0 after each step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.clamp_(min=0)
        return loss


def pair_curvature(pairs: torch.Tensor, invariance: float, n_steps: int = 30) -> float:
    """Estimate the largest curvature of J by 4 ‖S‖ + λ ‖S_Δ‖ of pairs (b, 2, d), with the power method.

    4 ‖S‖ + λ ‖S_Δ‖ is the second derivative of J along the leading direction v of S, at the best P = p v.
    """
    return 4 * _norm(pairs.flatten(0, 1), n_steps) / len(pairs) + invariance * _norm(
        pairs[:, 0] - pairs[:, 1], n_steps
    ) / len(pairs)


def _norm(rows, n_steps):
    """The spectral norm of rowsᵀ rows."""
    v = rows.square().sum(0)
    size = 0.0
    for _ in range(n_steps):
        length = float(v.norm())
        if length == 0:
            break
        v = rows.T @ (rows @ (v / length))
        size = float(v.norm())
    return size
