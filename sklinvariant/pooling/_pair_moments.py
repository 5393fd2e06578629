"""Second moments of pairs of frames, and J₁ and J₂ of auto-pooling computed directly from pairs.

Sukhbaatar, Makino, Aihara (2013), section 2. Axes: n frames, d features, k components. A pair is two consecutive rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.accumulate import Blocks, accumulate, gram

_ROUNDING = 1e-12  # a variance below this share of the mean square is rounding
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

    def of_features(self, chosen: slice) -> Self:
        """The moments of some features."""
        first = None if self.first is None else self.first[chosen, chosen]
        return type(self)(self.n_pairs, self.total[chosen, chosen], self.change[chosen, chosen], first)


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


def pairs_of_frames(follows: torch.Tensor) -> torch.Tensor:
    """The number of pairs of each frame (n,): 2 for a frame that is y of one pair and y′ of another."""
    roles = torch.zeros(len(follows) + 1, device=follows.device)
    roles[:-1] += follows
    roles[1:] += follows
    return roles


def _products(block, state):
    (rows, follows), (scale, with_first) = block, state
    x = rows / scale
    first, second = x[: len(follows)][follows], x[1 : len(follows) + 1][follows]
    roles = pairs_of_frames(follows)[: len(x)].to(x)
    parts = [x * roles.sqrt()[:, None], first - second]
    return tuple(map(gram, [*parts, first] if with_first else parts))


def standardized(moments: PairMoments) -> tuple[torch.Tensor, torch.Tensor, PairMoments]:
    """Mean and standard deviation (d,) of the features of the pairs, and the moments of the standardised features.

    The last feature of the moments must be a constant 1. The deviation of a constant feature is given as 0, and its
    standardised value is 0.
    """
    n_frames = 2 * moments.n_pairs
    sums, square = moments.total[-1, :-1], moments.total[:-1, :-1]
    mean = sums / n_frames
    covariance = square - sums[:, None] * mean
    variance = covariance.diagonal() / n_frames
    variance = torch.where(variance * n_frames > _ROUNDING * square.diagonal(), variance, 0.0)
    unit = torch.where(variance > 0, variance, torch.inf).rsqrt()
    first = moments.first
    if first is not None:
        cross = first[-1, :-1][:, None] * mean
        first = first[:-1, :-1] - cross - cross.T + moments.n_pairs * mean[:, None] * mean
    parts = (covariance, moments.change[:-1, :-1], first)
    scaled = (None if part is None else unit[:, None] * part * unit for part in parts)
    return mean, variance.sqrt(), PairMoments(moments.n_pairs, *scaled)  # type: ignore[arg-type]


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
