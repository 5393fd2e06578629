"""Batches of pairs of consecutive frames for AutoPooling."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from sklinvariant.accumulate import accumulate
from sklinvariant.base import as_tensor
from sklinvariant.pairs import UNIT_SAMPLE
from sklinvariant.pooling._pair_moments import pooling_errors


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
