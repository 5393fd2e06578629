"""Second moments of pairs of frames, and J₁ and J₂ of auto-pooling computed directly from pairs.

Sukhbaatar, Makino, Aihara (2013), section 2. Axes: n frames, d features, k components. A pair is two consecutive rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.accumulate import Blocks, accumulate
from sklinvariant.ops import pair_products

_ROUNDING = 1e-14  # a deviation below this share of the mean is rounding
_LEAST_ROWS = 4096  # in a chunk, so that adding float64 matrices (d, d) at its end is comparatively cheap


@dataclass(frozen=True)
class PairMoments:
    """Sums over pairs (y, y′) in float64. The sums of disjoint parts of the data can be added.

    ``total`` is Σ yyᵀ + y′y′ᵀ and ``change`` Σ (y−y′)(y−y′)ᵀ, both (d, d); ``first`` is Σ yyᵀ or None. If a ``shift``
    (d - 1,) is given, y contains the features minus the shift, and a constant 1 as the last feature. Sums around the
    mean do not lose the variance of features whose mean is many times their deviation.
    """

    n_pairs: int
    total: torch.Tensor
    change: torch.Tensor
    first: torch.Tensor | None = None
    shift: torch.Tensor | None = None

    def __add__(self, other: Self) -> Self:
        n_pairs, shift = self.n_pairs + other.n_pairs, None
        if self.shift is not None:
            mean = self.mean
            shift = mean + (other.mean - mean) * (other.n_pairs / n_pairs)  # exact if both means are equal
            self, other = self.around(shift), other.around(shift)
        first = None if self.first is None or other.first is None else self.first + other.first
        return type(self)(n_pairs, self.total + other.total, self.change + other.change, first, shift)

    @property
    def mean(self) -> torch.Tensor:
        """The mean of the features (d - 1,). The moments must have a shift."""
        assert self.shift is not None
        return self.shift + self.total[-1, :-1] / (2 * self.n_pairs)

    def around(self, shift: torch.Tensor) -> Self:
        """The same moments with another shift. Differences of frames do not depend on it."""
        assert self.shift is not None
        step = torch.nn.functional.pad(shift - self.shift, (0, 1))
        first = None if self.first is None else _moved(self.first, step)
        return type(self)(self.n_pairs, _moved(self.total, step), self.change, first, shift)

    def without_shift(self) -> Self:
        """The moments of the features themselves, without the constant."""
        if self.shift is None:
            return self
        plain = self.around(torch.zeros_like(self.shift))
        first = None if plain.first is None else plain.first[:-1, :-1]
        return type(self)(self.n_pairs, plain.total[:-1, :-1], plain.change[:-1, :-1], first)


def _moved(products, step):
    """Σ xxᵀ after ``step`` times their last entry, the constant 1, is subtracted from all x."""
    products = products - torch.outer(step, products[-1])
    return products - torch.outer(products[:, -1], step)


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
    shift: torch.Tensor | None = None,
) -> PairMoments:
    """Compute the moments of frames (n, d) in one pass, chunk by chunk. The frames need not be on ``device``.

    ``follows`` (n - 1,) is True if row i + 1 is the next frame of row i. Products are computed from rows divided by
    ``scale``, in the precision of ``dtype``, and are summed in float64. Differences are taken before the products, so
    that no precision is lost for slow videos. ``with_first`` adds Σ yyᵀ. ``features`` is applied to the rows first, and
    is a function of each row alone. Then ``shift``, if given, is subtracted, and a constant 1 is appended.
    """
    blocks = Blocks(rows, follows, device=device, dtype=dtype, size=chunk_size, overlap=1)
    if features is not None:
        blocks = blocks.map(features)
    if shift is not None:
        blocks = blocks.map(partial(_shifted, shift=shift))
    if chunk_size is None:
        blocks = blocks.of_size(max(_LEAST_ROWS, blocks.size))
    sums = accumulate(_products, blocks, (scale, with_first))
    total, change, *first = (products.mul_(scale).mul_(scale) for products in sums)
    shift = None if shift is None else shift.to(total)
    return PairMoments(int(follows.sum()), total, change, first[0] if first else None, shift)


def _shifted(rows, shift):
    return torch.nn.functional.pad(rows - shift.to(rows), (0, 1), value=1.0)


def _products(block, state):
    (rows, follows), (scale, with_first) = block, state
    return pair_products(rows[: len(follows) + 1], follows, scale, with_first)


def standardized(moments: PairMoments) -> tuple[torch.Tensor, torch.Tensor, PairMoments]:
    """Mean and standard deviation (d,) of the features of the pairs, and the moments of the standardised features.

    The moments must have a shift. The deviation of a constant feature is given as 0, and its standardised value is 0.
    """
    mean = moments.mean
    moments = moments.around(mean)
    variance = moments.total.diagonal()[:-1] / (2 * moments.n_pairs)
    deviation = without_rounding(variance.clamp(min=0).sqrt(), mean)
    unit = torch.where(deviation > 0, deviation, torch.inf).reciprocal()
    parts = (moments.total, moments.change, moments.first)
    scaled = (None if part is None else unit[:, None] * part[:-1, :-1] * unit for part in parts)
    return mean, deviation, PairMoments(moments.n_pairs, *scaled)  # type: ignore[arg-type]


def without_rounding(deviation: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """The deviations (d,) of features with these means, with 0 for features that are constant up to rounding."""
    return torch.where(deviation > _ROUNDING * mean.abs(), deviation, 0.0)


@in_own_precision
def pooling_errors(
    y: torch.Tensor, y_next: torch.Tensor, components: torch.Tensor, cross: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""The two errors that `AutoPooling` minimises, summed over pairs of frames.

    For features y and y' of two consecutive frames, and their pooled features :math:`z = P y` and :math:`z' = P y'`,
    these are the invariance error and the reconstruction error:

    .. math:: \sum \frac{1}{2} \lVert z - z' \rVert^2, \qquad
        \sum \frac{1}{2} \left(\lVert y - P^T z \rVert^2 + \lVert y' - P^T z' \rVert^2\right)

    Parameters
    ----------
    y, y_next : tensor of shape (n, d)
        Features of the first and of the second frame of each pair.
    components : tensor of shape (k, d)
        The matrix P.
    cross : bool, default=False
        Whether y' is reconstructed from z instead of z'.

    Returns
    -------
    invariance_error, reconstruction_error : tensor of shape ()
    """
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
