"""Where both solvers of `AutoPooling` start: the units of the features, and the initial components.

Axes: n frames, d features, k components.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from sklinvariant.accumulate import Blocks, measure_columns
from sklinvariant.base import Input, as_numpy, as_tensor, check_size
from sklinvariant.ops import pairs_of_rows
from sklinvariant.pooling._clip_frames import ClipFrames

NO_UNITS: dict[str, Any] = {"mean": None, "scale": None, "varies": None}  # without ``standardize``


def units_of(mean: torch.Tensor, deviation: torch.Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """The part of the fitted state that describes the standardisation."""
    varies = deviation > 0
    scale = torch.where(varies, deviation, 1.0)
    return {"mean": as_numpy(mean.to(dtype)), "scale": as_numpy(scale.to(dtype)), "varies": as_numpy(varies)}


def check_reach(value: float, largest: float, invariance: float) -> None:
    """Raise a ValueError if J would be infinite or 0, because the descent would then return its start.

    The limits of single features are the same for both solvers, with and without ``standardize``. Sums over many frames
    may be infinite for smaller features, which only "moment" refuses.
    """
    if 0 < largest < 1e-150:
        raise ValueError(
            f"features up to {largest:g} are too small, because their squares are 0. Multiply X by a constant"
        )
    if largest > 1e152:
        raise ValueError(
            f"features up to {largest:g} are too large, because sums of their squares are infinite. Divide X by "
            "a constant"
        )
    if not math.isfinite(value):
        raise ValueError(
            f"features up to {largest:g} and invariance={invariance:g} make J infinite. Scale X, or lower invariance"
        )


def paired_columns(frames: ClipFrames, given: Input) -> tuple[Blocks, Any]:
    """The frames, weighted by the number of their pairs, and the means of their features."""
    blocks = Blocks(frames.rows, pairs_of_rows(frames.follows), device=given.device)
    return blocks, measure_columns(blocks)


def random_components(k: int, d: int, generator: torch.Generator) -> torch.Tensor:
    """Components (k, d), float32 on the CPU."""
    check_size(k * max(d, k), n_components=k)
    return torch.rand(k, d, generator=generator, dtype=torch.float32, device="cpu")


def initial_components(earlier: Any, fresh: torch.Tensor) -> torch.Tensor:
    """Fresh components, or if they are given those of an earlier fit.

    Earlier components that are 0 have no gradient, and are replaced by small fresh ones.
    """
    if earlier is None:
        return fresh
    components = as_tensor(earlier).to(fresh)
    dead = ~components.any(1)
    return torch.where(dead[:, None], 0.01 * fresh, components)
