"""k-means and diagonal Gaussian mixtures of rows that arrive in parts, from statistics with decaying weights.

Each part moves the means of sufficient statistics by a step towards those of the part, and the parameters follow from
these means (Cappé, Moulines 2009, On-line expectation-maximization algorithm for latent data models, equation 13).

Axes: n rows of the part, d features, k codewords.
"""

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.accumulate._accumulate import accumulate
from sklinvariant.accumulate._blocks import Blocks
from sklinvariant.accumulate._clustering import assign, expected
from sklinvariant.ops import Mixture, float64_device

_DECAY = 0.7  # between 0.5 and 1; lower values forget earlier parts sooner
_ROUNDS = 3  # assignments of a part


def step_size(n_earlier: int, n: int) -> float:
    """The step for n rows after ``n_earlier`` others. The step for the i-th of equal parts is :math:`i^{-0.7}`."""
    return (n / (n_earlier + n)) ** _DECAY


@in_own_precision
def codeword_shares(blocks: Blocks, codebook: torch.Tensor) -> torch.Tensor:
    """The share of the rows that are nearest to each codeword, (k,) in float64."""
    mass, _ = accumulate(assign, blocks, (codebook, True))
    return mass / mass.sum()


@in_own_precision
def step_kmeans(
    blocks: Blocks, codebook: torch.Tensor, shares: torch.Tensor, step: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The codebook (k, d) and the shares (k,) of its codewords after a part of the rows, ``Blocks(values, weights)``.

    The rows are assigned again to the codewords that they have moved. A codeword without rows stays where it is.
    """
    start, moved = codebook.to(float64_device(codebook.device)).double(), codebook
    before = (1 - step) * shares.to(start)
    for _ in range(_ROUNDS):
        mass, sums = (part.to(start) for part in accumulate(assign, blocks, (moved, True)))
        shares = before + step * mass / mass.sum()
        total = before[:, None] * start + step * sums / mass.sum()
        moved = _divided(total, shares, start).to(codebook)
    return moved, shares


@in_own_precision
def step_mixture(blocks: Blocks, mixture: Mixture, step: float, reg_covar: float = 1e-6) -> Mixture:
    """The mixture after a part of the rows, ``Blocks(values, weights)`` with a scale near 1, as in `fit_mixture`.

    A component of weight 0 stays as it is.
    """
    mass, sums, _ = expected(blocks, mixture)
    weights, means, variances = (part.to(mass) for part in mixture)
    second = (variances - reg_covar).clamp(min=0) + means.square()
    start, before = torch.cat([means, second], dim=1), (1 - step) * weights
    weights = before + step * mass / mass.sum()
    total = before[:, None] * start + step * sums / mass.sum()
    first, second = _divided(total, weights, start).chunk(2, dim=1)
    variances = (second - first.square()).clamp(min=0) + reg_covar
    return Mixture(*(part.to(blocks.dtype) for part in (weights / weights.sum(), first, variances)))


def _divided(total, shares, start):
    """The means ``total / shares``, or ``start`` where a share is 0."""
    return torch.where(shares[:, None] > 0, total / shares.clamp(min=1e-300)[:, None], start)
