"""The solver "sgd" of `AutoPooling`: the objective on a batch of pairs of frames, projected steps, and the training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sklinvariant._distributed import whole_mean
from sklinvariant.accumulate import accumulate, deviations
from sklinvariant.base import TorchEstimator, as_tensor
from sklinvariant.pairs import UNIT_SAMPLE
from sklinvariant.pooling._auto_pooling._descent import best_multiple
from sklinvariant.pooling._auto_pooling._start import (
    NO_UNITS,
    check_reach,
    initial_components,
    paired_columns,
    random_components,
    units_of,
)
from sklinvariant.pooling._clip_frames import ClipFrames
from sklinvariant.pooling._held_moments import cannot_change
from sklinvariant.pooling._pair_moments import pooling_errors, pooling_ray, without_rounding
from sklinvariant.training import TrainedEstimator

_PAIRS_AT_ONCE = 4096  # whose errors are computed


class PoolingLoss(nn.Module):
    """J = λ J₁ + J₂ of Sukhbaatar et al. (2013). The matrix P (k, d) is the parameter ``components``."""

    def __init__(self, components: torch.Tensor, invariance: float, cross: bool = False) -> None:
        super().__init__()
        self.components = nn.Parameter(components.clone())
        self.invariance, self.cross = invariance, cross

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """The mean of J over pairs (b, 2, d)."""
        change, missed = pooling_errors(pairs[:, 0], pairs[:, 1], self.components, self.cross)
        return whole_mean((self.invariance * change + missed) / len(pairs))


class ProjectedSGD(torch.optim.SGD):
    """Stochastic gradient descent that sets negative parameters to 0 after each step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.clamp_(min=0)
        return loss


def pair_curvature(pairs: torch.Tensor, invariance: float, n_steps: int = 30) -> float:
    """Estimate the largest curvature of J by 4 ‖S‖ + λ ‖S_Δ‖ of pairs (b, 2, d), with the power method.

    4 ‖S‖ + λ ‖S_Δ‖ is the second derivative of J along the leading direction v of S, at the best P = p v.
    """
    return 4 * _norm(pairs.flatten(0, 1), n_steps) / len(pairs) + invariance * _norm(
        pairs[:, 0] - pairs[:, 1], n_steps
    ) / len(pairs)


def _norm(rows, n_steps):
    """The spectral norm of rowsᵀ rows."""
    v = rows.square().sum(0)
    size = 0.0
    for _ in range(n_steps):
        length = float(v.norm())
        if length == 0:
            break
        v = rows.T @ (rows @ (v / length))
        size = float(v.norm())
    return size


class FramePairBatches:
    """Batches (b, 2, d) of pairs of consecutive rows on a device, shuffled in each pass.

    ``mean`` (d,), if given, is subtracted from the rows, and they are divided by ``scale`` (d,). Then they are divided
    by ``unit``, so that the pairs of a ``sample`` (n, 2, d) have a mean squared norm of 1.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        follows: torch.Tensor,
        *,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator,
        mean: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ) -> None:
        self.units = None
        if mean is not None and scale is not None:
            self.units = as_tensor(mean).to(device, rows.dtype), as_tensor(scale).to(device, rows.dtype)
        self.rows = rows.to(device) if _has_room(device, rows.nbytes) else rows
        self.batch_size, self.device, self.generator = batch_size, device, generator
        self.first = follows.nonzero().squeeze(1)
        # at first the largest value, so that squares do not overflow
        self.unit = 1.0 if mean is not None else float(rows.max()) or 1.0
        sample = self.take(self.first[torch.randperm(len(self), generator=generator)[:UNIT_SAMPLE]])
        size = math.sqrt(float(sample.square().sum(dtype=torch.float64)) / len(sample)) or 1.0
        self.unit *= size
        self.sample = sample / size

    def __len__(self) -> int:
        return len(self.first)

    @property
    def n_steps(self) -> int:
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, None]]:
        order = self.first[torch.randperm(len(self), generator=self.generator)]
        for first in order.split(self.batch_size):
            yield self.take(first), None

    def take(self, first: torch.Tensor) -> torch.Tensor:
        index = torch.stack([first, first + 1], 1).flatten().to(self.rows.device)
        pairs = self.rows.index_select(0, index).to(self.device)
        if self.units is not None:
            mean, scale = self.units
            pairs = (pairs - mean) / scale
        return (pairs / self.unit).unflatten(0, (-1, 2))

    @torch.no_grad()
    def errors(self, components: torch.Tensor, cross: bool, chunk_size: int | None) -> tuple[float, float]:
        """J₁ and J₂, means over all pairs, in the units of the rows; ``chunk_size`` pairs are processed at a time."""

        def errors_of(first, _):
            y, y_next = self.take(first).unbind(1)
            return pooling_errors(y, y_next, components, cross)

        sums = accumulate(errors_of, self.first.split(chunk_size))
        change, missed = (float(total) / len(self) * self.unit**2 for total in sums)
        return change, missed


def _has_room(device, n_bytes):
    """Whether the rows fit on a GPU. Otherwise each batch is copied to it separately."""
    return device.type == "cuda" and n_bytes <= torch.cuda.mem_get_info(device)[0] / 2


@dataclass
class _Descent:
    """The data of "sgd": frames, batches of their pairs, initial components (k, d), and the units of the features."""

    frames: ClipFrames
    batches: FramePairBatches
    start: torch.Tensor
    units: dict[str, Any]


class PoolingByBatches(TrainedEstimator, TorchEstimator):
    """Mixin of `AutoPooling`: training on batches of pairs, in epochs."""

    def _data(self, given, y, generator, *, reset, frames, start):
        rows, device = frames.rows.to(given.dtype), given.device
        fresh = random_components(self.n_components, rows.shape[1], generator).to(device, rows.dtype)
        units = self._units_of_frames(frames, given, None if start is None else self._state)
        scale = units["scale"]
        if scale is not None:
            fresh *= as_tensor(units["varies"]).to(fresh)
            scale = np.where(units["varies"], scale, np.inf)  # constant features are 0 in J, also if they vary later
        batches = FramePairBatches(
            rows,
            frames.follows,
            batch_size=self.batch_size,
            device=device,
            generator=generator,
            mean=units["mean"],
            scale=scale,
        )
        check_reach((1 + self.invariance) * batches.unit * batches.unit, float(rows.max()), self.invariance)
        y, y_next = batches.sample.unbind(1)
        fresh = best_multiple(fresh, *pooling_ray(y, y_next, fresh, self.cross_reconstruction))
        return _Descent(frames, batches, initial_components(start, fresh), units)

    def _units_of_frames(self, frames, given, earlier):
        """Mean and deviation of the frames of pairs, or those of an earlier call."""
        if earlier is not None:
            if (earlier.get("scale") is not None) != self.standardize:
                raise ValueError(cannot_change(standardize=self.standardize))
            return {name: earlier.get(name) for name in NO_UNITS}
        if not self.standardize:
            return NO_UNITS
        blocks, columns = paired_columns(frames, given)
        return units_of(columns.mean, without_rounding(deviations(blocks, columns), columns.mean), given.dtype)

    def _identity(self, data):
        return {"samples": [data.frames.rows], "pairs": [data.frames.follows]}

    def _module(self, data, generator):
        return PoolingLoss(data.start, self.invariance, self.cross_reconstruction)

    def _restored(self, data, generator):
        return self._module(data, generator)

    def _batches(self, data, generator):
        return data.batches

    def _make_optimizer(self, parameters, lr):
        return ProjectedSGD(parameters, lr=lr, momentum=self.momentum)

    def _first_learning_rate(self, data):
        # standardised features have no direction of large curvature, their mean, that limits the step for all others
        share = 0.5 if self.standardize else 1.0
        return share * self.learning_rate / (pair_curvature(data.batches.sample, self.invariance) or 1.0)

    def _patience(self):
        return (None, 1) if self.n_iter_no_change is None else super()._patience()

    def _export(self, module, data):
        return {"components": module.components.detach().cpu().numpy().copy(), **data.units, **data.frames.kept}

    def _results(self, module, data):
        components, chunk_size = module.components.detach(), self.chunk_size or _PAIRS_AT_ONCE
        return self._errors(data.batches.errors(components, self.cross_reconstruction, chunk_size))

    def _row(self, row, data):
        """Convert the loss from the units of the batches to those of J."""
        row = row | {"loss": row["loss"] * data.batches.unit**2}
        return row | {"iteration": row["epoch"], "objective": row["loss"]}

    def _earlier(self):
        """Epochs of earlier fits with "sgd". Iterations of "moment", which start from 0, do not count."""
        history = super()._earlier()
        return history if history and history[0].get("epoch") else []
