"""Scaling of samples before the network and before neighbours are searched, chosen without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch

from sklinvariant.images import scale_pixels
from sklinvariant.ops import in_safe_unit, safe_unit, unit_length

_OTHER_UNITS = 30  # ratio of the largest standard deviation to the median one
_NEAR_ZERO = 0.1  # of the mean
_MOST_ROWS = 5000  # on which scalings are compared
_AT_ONCE = 1 << 20  # values that are read at a time


class Scaling(NamedTuple):
    """``(x - shift) / scale`` of samples (n, ..., c), or of their `unit_roots`; shift is (c,) and scale () or (c,)."""

    shift: torch.Tensor
    scale: torch.Tensor
    roots: bool = False

    @classmethod
    def of(cls, samples: torch.Tensor, kind: str | None) -> Self:
        """The scaling of this kind: "standard" divides by the standard deviation of each feature, "roots" takes roots.

        All kinds centre the samples and divide by their overall standard deviation, which leaves neighbours unchanged.
        Samples are rows or images of floats, or images of integers.
        """
        like, axes = scale_pixels(samples[:0]), tuple(range(samples.ndim - 1))
        unit = 1.0 if kind == "roots" or not samples.is_floating_point() else safe_unit(samples)
        values = _Values(samples, unit_roots if kind == "roots" else lambda part: part / unit)
        shift = values.mean(torch.clone, axes).to(like)
        squares = values.mean(lambda part: (part - shift).square_(), axes if kind == "standard" else None)
        scale = squares.sqrt().to(like)
        return cls(shift * unit, torch.where(scale > 0, scale, 1) * unit, kind == "roots")

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        return ((unit_roots(samples) if self.roots else samples) - self.shift).div_(self.scale)


class _Values:
    """The values of a function of samples (n, ..., c), computed in parts without copies of all values."""

    def __init__(self, samples, function):
        self.samples, self.function = samples, function

    def mean(self, function, axes):
        """Means in float64 of a function of the values, over these axes or all."""
        rows = max(1, _AT_ONCE // max(1, self.samples.shape[1:].numel()))
        parts = (self.function(scale_pixels(part)) for part in self.samples.split(rows))
        sums = sum(function(part).sum(axes, dtype=torch.float64) for part in parts)
        return sums / (self.samples.numel() / (1 if axes is None else self.samples.shape[-1]))


def unit_roots(rows: torch.Tensor) -> torch.Tensor:
    """The square roots of rows (n, d), scaled to unit length; negative values count as 0."""
    return unit_length(rows.clamp_min(0).sqrt())


def choose_scaling(
    rows: torch.Tensor, information: Callable[[torch.Tensor], float] | None, generator: torch.Generator
) -> str | None:
    """The kind of scaling of rows (n, d): "standard" if the features have different units, otherwise None or "roots".

    ``information`` computes the mutual information of pairs of rows that are scaled. "roots" is chosen for rows without
    negative values if it gives more. With None there are no pairs that depend on the scaling.
    """
    values, _ = in_safe_unit(rows)
    deviations = values.std(0, correction=0)
    deviations = deviations[deviations > 0]
    if len(deviations) and deviations.max() > _OTHER_UNITS * deviations.median():
        return "standard"
    if information is None or not _begin_at_zero(values):
        return None
    some = rows[torch.randperm(len(rows), generator=generator)[:_MOST_ROWS].to(rows.device)]
    return max((None, "roots"), key=lambda kind: information(Scaling.of(some, kind)(some)))


def _begin_at_zero(rows):
    """Whether the smallest value of most features is near 0 and none is negative: 0 is then no arbitrary origin."""
    least = rows.amin(0)
    return bool((least >= 0).all() and (least <= _NEAR_ZERO * rows.mean(0)).double().mean() > 0.5)
