"""Mutual information between predictions for neighbouring pixels (Ji, Henriques, Vedaldi 2019, equation 5).

Axes: n images, k clusters of the first view, q of the second, h×w pixels, D = 2 d + 1 displacements along each axis.
"""

import torch
from torch.nn.functional import pad

from sklinvariant._settings import in_own_precision
from sklinvariant.ops import displaced_joints, joint_information


@in_own_precision
def pooled_joint(first: torch.Tensor, second: torch.Tensor, half_window: int) -> torch.Tensor:
    """The sum of `displaced_joints` over all displacements: (k, q), by two cumulative sums and one product."""
    d = half_window
    for axis in (-1, -2):
        size = second.shape[axis]
        before = torch.cumsum(pad(second, (1, 0) if axis == -1 else (0, 0, 1, 0)), axis)
        ends = torch.arange(size, device=second.device)
        upper, lower = (ends + d + 1).clamp_max(size), (ends - d).clamp_min(0)
        second = before.index_select(axis, upper) - before.index_select(axis, lower)
    return torch.einsum("nihw,njhw->ij", first, second)


@in_own_precision
def dense_information(
    first: torch.Tensor,
    second: torch.Tensor,
    half_window: int,
    *,
    average: str = "information",
    entropy_weight: float = 1.0,
) -> torch.Tensor:
    """Mutual information of two dense predictions over all displacements up to ``half_window``, a scalar.

    ``average="information"`` is the mean of I(P_t) over displacements t; ``"joint"`` is I of the sum of the P_t.
    """
    return joint_information(dense_joints(first, second, half_window, average=average), entropy_weight).mean()


@in_own_precision
def dense_joints(
    first: torch.Tensor, second: torch.Tensor, half_window: int, *, average: str = "information"
) -> torch.Tensor:
    """The joint distributions, not normalised: (D, D, k, q), or (k, q) with ``average="joint"``. They are additive."""
    if average == "joint":
        return pooled_joint(first, second, half_window)
    return displaced_joints(first, second, half_window)
