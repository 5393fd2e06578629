"""Spectral hashing: eigenfunctions of a box along the principal directions (Weiss et al. 2008)."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY

import torch

from sklinvariant.accumulate import column_range
from sklinvariant.base import Array, Count, check_size, declared
from sklinvariant.hashing._hasher import principal_directions
from sklinvariant.hashing._moment_hasher import MomentHasher, held_layout


def smoothest_waves(lengths: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(direction, number of half waves) of the ``count`` smallest eigenvalues (half waves / length)², in order."""
    waves = torch.arange(1, count + 1, dtype=torch.float64)
    rates = waves / lengths.double().cpu().clamp(min=1e-300)[:, None]
    chosen = rates.flatten().argsort(stable=True)[:count]
    return chosen // count, waves[chosen % count]


@declared
class SpectralHasher(MomentHasher):
    """Signs of sine waves along the principal directions, in order of the frequency relative to the range of the data.

    Parameters
    ----------
    n_bits : int
        Length of the code. It may exceed the number of features: a direction in which the data has a large range gives
        several bits, with waves of increasing frequency.

    References
    ----------
    Weiss, Torralba, Fergus (2008). Spectral hashing. Algorithm of section 3.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
        "low": Array("n_bits"),
        "rate": Array("n_bits"),
        "held": held_layout("n_features_in_", "n_features_in_", rows=True),
    }
    _product_axes = 2
    _needs_rows = True
    n_bits: Count = 64
    _: KW_ONLY

    def _check_sizes(self, d):
        check_size(self.n_bits * d, n_bits=self.n_bits)

    def _solve(self, moments, rows, generator):
        directions = principal_directions(moments, self.n_bits).to(rows.device, rows.dtype)
        mean = moments.columns.mean.to(directions)
        low, high = column_range(rows.map(lambda x: (x - mean) @ directions.T))
        which, half_waves = smoothest_waves(high - low, self.n_bits)
        length = (high - low).double().cpu()[which]
        rate = torch.where(length > 0, math.pi * half_waves / length.clamp(min=1e-300), 0.0)
        return {
            "mean": mean,
            "directions": directions[which],
            "low": low[which],
            "rate": rate,
            "n_bits": self.n_bits,
        }

    @staticmethod
    def _project(X, state):
        along = (X - state["mean"]) @ state["directions"].T
        return torch.cos((along - state["low"]) * state["rate"])
