"""Second moments of pairs of frames, and J₁ and J₂ of auto-pooling computed directly from pairs.

Sukhbaatar, Makino, Aihara (2013), section 2. Axes: n frames, d features, k components. A pair is two consecutive rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.accumulate import Blocks, accumulate, gram

_LEAST_ROWS = 4096  # in a chunk, so that adding float64 matrices (d, d) at its end is comparatively cheap


@dataclass(frozen=True)
class PairMoments:
    """Sums over pairs (y, y′) in float64. The sums of disjoint parts of the data can be added.

    ``total`` is Σ yyᵀ + y′y′ᵀ and ``change`` Σ (y−y′)(y−y′)ᵀ, both (d, d); ``first`` is Σ yyᵀ or None.
    """

    n_pairs: int
    total: torch.Tensor
    change: torch.Tensor
    first: torch.Tensor | None = None

    def __add__(self, other: Self) -> Self:
        first = None if self.first is None or other.first is None else self.first + other.first
        n_pairs = self.n_pairs + other.n_pairs
        return type(self)(n_pairs, self.total + other.total, self.change + other.change, first)


@in_own_precision
def pair_moments(
    rows: torch.Tensor,
    follows: torch.Tensor,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    scale: float = 1.0,
    with_first: bool = False,
    chunk_size: int | None = None,
    features: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> PairMoments:
    """Compute the moments of frames (n, d) in one pass, chunk by chunk. The frames need not be on ``device``.

    ``follows`` (n - 1,) is True if row i + 1 is the next frame of row i. Products are computed from rows divided by
    ``scale``, in the precision of ``dtype``, and are summed in float64. Differences are taken before the products, so
    that no precision is lost for slow videos. ``with_first`` adds Σ yyᵀ. ``features`` is applied to
    the rows first, and is a function of each row alone.
    """
    blocks = Blocks(rows, follows, device=device, dtype=dtype, size=chunk_size, overlap=1)
    if features is not None:
        blocks = blocks.map(features)
    if chunk_size is None:
        blocks = blocks.of_size(max(_LEAST_ROWS, blocks.size))
    sums = accumulate(_products, blocks, (scale, with_first))
    return PairMoments(int(follows.sum()), *(total.mul_(scale).mul_(scale) for total in sums))


def _products(block, state):
    (rows, follows), (scale, with_first) = block, state
    x = rows / scale
    first, second = x[: len(follows)][follows], x[1 : len(follows) + 1][follows]
    roles = x.new_zeros(len(x))  # 2 for a frame that is y of one pair and y′ of another
    roles[: len(follows)] += follows
    roles[1 : len(follows) + 1] += follows
    parts = [x * roles.sqrt()[:, None], first - second]
    return tuple(map(gram, [*parts, first] if with_first else parts))


@in_own_precision
def pooling_errors(
    y: torch.Tensor, y_next: torch.Tensor, components: torch.Tensor, cross: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """J₁ and J₂, summed over pairs (n, d) and (n, d); with ``cross``, y′ is reconstructed from z instead of z′."""
    z, z_next = y @ components.T, y_next @ components.T
    change = (z - z_next).square().sum()
    missed = (y - z @ components).square().sum() + (y_next - (z if cross else z_next) @ components).square().sum()
    return change / 2, missed / 2


@in_own_precision
def pooling_ray(
    y: torch.Tensor, y_next: torch.Tensor, components: torch.Tensor, cross: bool = False
) -> tuple[float, float]:
    """The coefficients ``gain`` and ``cost`` of J₂(sP) = ½ (c − s² gain + s⁴ cost), up to a common factor."""
    z, z_next = y @ components.T, y_next @ components.T
    source = z if cross else z_next  # from which y′ is reconstructed
    gain = 2 * (z.square().sum() + (z_next * source).sum())
    cost = (z @ components).square().sum() + (source @ components).square().sum()
    return float(gain), float(cost)
