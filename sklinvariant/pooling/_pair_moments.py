"""The second moments of pairs of frames, and J₁ and J₂ of auto-pooling over the frames themselves.

Sukhbaatar, Makino, Aihara (2013), section 2. Axes: n frames, d features, k components. A pair is a row and the next.
"""

from dataclasses import dataclass

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops import chunk_rows, compute_dtype, take_rows

_LEAST_ROWS = 4096  # of a chunk: each ends with additions of (d, d) in float64, which many rows make cheap


@dataclass(frozen=True)
class PairMoments:
    """Sums over pairs (y, y′), in float64; those of parts of the data, computed anywhere, add up to those of all.

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
    """One pass over frames (n, d), which may lie elsewhere than on ``device``, a chunk at a time.

    ``follows`` (n - 1,) tells whether row i + 1 is the next frame of row i. Products are those of rows divided by
    ``scale``, in the precision of the rows (differences before products: a slow video loses nothing); their sums are
    in float64. ``with_first`` adds Σ yyᵀ.
    """
    device = rows.device if device is None else torch.device(device)
    wide = torch.device("cpu") if device.type == "mps" else device  # which has no float64
    like = torch.empty(0, dtype=compute_dtype(rows.dtype), device=device)
    d = rows.shape[1]
    follows = follows.cpu()
    roles = torch.zeros(len(rows), dtype=torch.float64, device="cpu")
    roles[:-1] += follows
    roles[1:] += follows  # 2 for a frame between two others of its clip, which is y′ of one pair and y of the next
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
    """xᵀx; numpy's takes half the time, as it computes one triangle."""
    if x.device.type == "cpu":
        return torch.from_numpy(x.numpy().T @ x.numpy())
    return x.T @ x


@in_own_precision
def pooling_errors(y, y_next, components, cross=False):
    """J₁ and J₂, the sums over pairs (n, d) and (n, d); ``cross`` rebuilds y′ from z instead of z′."""
    z, z_next = y @ components.T, y_next @ components.T
    change = (z - z_next).square().sum()
    missed = (y - z @ components).square().sum() + (y_next - (z if cross else z_next) @ components).square().sum()
    return change / 2, missed / 2


@in_own_precision
def pooling_ray(y, y_next, components, cross=False):
    """How J₂ changes along s P, up to a factor: J₂(sP) = ½ (c − s² gain + s⁴ cost); ``gain`` and ``cost``."""
    z, z_next = y @ components.T, y_next @ components.T
    source = z if cross else z_next  # of the rebuilt y′
    gain = 2 * (z.square().sum() + (z_next * source).sum())
    cost = (z @ components).square().sum() + (source @ components).square().sum()
    return float(gain), float(cost)
