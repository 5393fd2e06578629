"""The solver "sgd" of `AutoPooling`: it descends by batches of pairs of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sklinvariant.accumulate import deviations
from sklinvariant.base import TorchEstimator, as_tensor
from sklinvariant.pooling._clip_frames import ClipFrames
from sklinvariant.pooling._held_moments import cannot_change
from sklinvariant.pooling._pair_batches import FramePairBatches
from sklinvariant.pooling._pair_moments import pooling_ray, without_rounding
from sklinvariant.pooling._pooling_descent import best_multiple
from sklinvariant.pooling._pooling_loss import PoolingLoss, ProjectedSGD, pair_curvature
from sklinvariant.pooling._pooling_start import (
    NO_UNITS,
    check_reach,
    initial_components,
    paired_columns,
    random_components,
    units_of,
)
from sklinvariant.training import TrainedEstimator

_PAIRS_AT_ONCE = 4096  # whose errors are computed


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
