"""The additive χ² feature map, differentiable (Vedaldi & Zisserman 2012)."""

import math

import torch

from sklinvariant._settings import in_own_precision

_INTERVALS = {1: 0.8, 2: 0.5, 3: 0.4}  # as sklearn.kernel_approximation.AdditiveChi2Sampler


@in_own_precision
def chi2_map(x: torch.Tensor, sample_steps: int = 2) -> torch.Tensor:
    """Differentiable AdditiveChi2Sampler: non-negative (n, k) -> (n, k (2 sample_steps - 1)).

    Entries below the smallest normal number are mapped to 0 with a zero gradient.
    """
    interval = _INTERVALS[sample_steps]
    tiny = torch.finfo(x.dtype).tiny
    positive = x > tiny
    safe = torch.where(positive, x, torch.ones_like(x))
    root, log = safe.sqrt(), safe.log()
    parts = [math.sqrt(interval) * root]
    for step in range(1, sample_steps):
        factor = math.sqrt(2 * interval / math.cosh(math.pi * step * interval)) * root
        angle = step * interval * log
        parts += [factor * angle.cos(), factor * angle.sin()]
    zero = torch.zeros_like(x)
    return torch.cat([torch.where(positive, part, zero) for part in parts], dim=1)
