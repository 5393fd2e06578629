"""Second moments of pairs of frames, and J₁ and J₂ of auto-pooling computed directly from pairs.

Sukhbaatar, Makino, Aihara (2013), section 2. Axes: n frames, d features, k components. A pair is two consecutive rows.
"""

from dataclasses import dataclass

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops import chunk_rows, compute_dtype, take_rows

_LEAST_ROWS = 4096  # of a chunk, so that the additions of float64 matrices (d, d) at its end are comparatively cheap


@dataclass(frozen=True)
class PairMoments:
    """Sums over pairs (y, y′) in float64. The sums of disjoint parts of the data can be added.

    ``total`` is Σ yyᵀ + y′y′ᵀ and ``change`` Σ (y−y′)(y−y′)ᵀ, both (d, d); ``first`` is Σ yyᵀ or None.
    """

    n_pairs: int
    total: torch.Tensor
    change: torch.Tensor
    first: torch.Tensor | None = None

    def __add__(self, other):
        first = None if self.first is None or other.first is None else self.first + other.first
        n_pairs = self.n_pairs + other.n_pairs
        return PairMoments(n_pairs, self.total + other.total, self.change + other.change, first)


@in_own_precision
def pair_moments(rows, follows, *, device=None, scale=1.0, with_first=False, chunk_size=None):
    """Compute the moments of frames (n, d) in one pass, chunk by chunk. The frames need not be on ``device``.

    ``follows`` (n - 1,) is True if row i + 1 is the next frame of row i. Products are computed from rows divided by
    ``scale``, in the precision of the rows, and are summed in float64. Differences are taken before the products, so
    that no precision is lost for slow videos. ``with_first`` adds Σ yyᵀ.
    """
    device = rows.device if device is None else torch.device(device)
    wide = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    like = torch.empty(0, dtype=compute_dtype(rows.dtype), device=device)
    d = rows.shape[1]
    follows = follows.cpu()
    roles = torch.zeros(len(rows), dtype=torch.float64, device="cpu")
    roles[:-1] += follows
    roles[1:] += follows  # 2 for inner frames of a clip, which are y′ of one pair and y of the next
    sums = [torch.zeros(d, d, dtype=torch.float64, device=wide) for _ in range(3 if with_first else 2)]
    step = chunk_size or max(_LEAST_ROWS, chunk_rows(d, like.dtype, device))
    for start in range(0, len(rows), step):
        x = take_rows(rows, start, start + step + 1, like) / scale
        is_first = follows[start : start + step].to(device)
        own = x[:step]
        first, second = x[: len(is_first)][is_first], x[1 : len(is_first) + 1][is_first]
        parts = [own * roles[start : start + step].sqrt().to(own)[:, None], first - second]
        for total, part in zip(sums, [*parts, first] if with_first else parts, strict=True):
            total += _gram(part).to(wide)
    sums = [total.mul_(scale).mul_(scale) for total in sums]
    return PairMoments(int(follows.sum()), *sums)


def _gram(x):
    """xᵀx. numpy takes half the time of torch, because it computes only one triangle."""
    if x.device.type == "cpu":
        return torch.from_numpy(x.numpy().T @ x.numpy())
    return x.T @ x


@in_own_precision
def pooling_errors(y, y_next, components, cross=False):
    """J₁ and J₂, summed over pairs (n, d) and (n, d); with ``cross``, y′ is reconstructed from z instead of z′."""
    z, z_next = y @ components.T, y_next @ components.T
    change = (z - z_next).square().sum()
    missed = (y - z @ components).square().sum() + (y_next - (z if cross else z_next) @ components).square().sum()
    return change / 2, missed / 2


@in_own_precision
def pooling_ray(y, y_next, components, cross=False):
    """The coefficients ``gain`` and ``cost`` of J₂(sP) = ½ (c − s² gain + s⁴ cost), up to a common factor."""
    z, z_next = y @ components.T, y_next @ components.T
    source = z if cross else z_next  # from which y′ is reconstructed
    gain = 2 * (z.square().sum() + (z_next * source).sum())
    cost = (z @ components).square().sum() + (source @ components).square().sum()
    return float(gain), float(cost)
