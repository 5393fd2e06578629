"""Batches of labelled samples, on which `IICClassifier` trains a `ClassNetwork`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sklinvariant.images import scale_pixels
from sklinvariant.pairs import changed, shuffled
from sklinvariant.training import Targets


class LabelledBatch:
    """The input of `ClassNetwork`."""

    def __init__(self, samples: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> None:
        self.samples, self.target, self.weight = samples, target, weight

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice) -> LabelledBatch:
        return LabelledBatch(self.samples[rows], self.target[rows], self.weight[rows])

    def take(self, index: torch.Tensor) -> LabelledBatch:
        """Some of the samples, converted to floats."""
        return LabelledBatch(scale_pixels(self.samples.index_select(0, index)), self.target[index], self.weight[index])


@dataclass
class LabelledSamples:
    """The labelled samples and their targets, and the seed of the views in prediction."""

    samples: torch.Tensor
    targets: Targets
    seed: int

    def take(self, indices: np.ndarray) -> LabelledSamples:
        """The data of some of the samples."""
        samples = self.samples[torch.from_numpy(indices).to(self.samples.device)]
        return LabelledSamples(samples, self.targets.take(indices), self.seed)

    @cached_property
    def batch(self) -> LabelledBatch:
        """All samples as one batch, and the targets on their device and in their precision."""
        values: Any = self.targets.values
        like = scale_pixels(self.samples[:0])
        values = values.to(like if values.is_floating_point() else like.device)
        return LabelledBatch(self.samples, values, self.targets.weight.to(like))


class LabelledBatches:
    """Batches of labelled samples, shuffled and transformed by ``views`` in each pass."""

    def __init__(
        self, everything: LabelledBatch, views: Callable, *, batch_size: int, generator: torch.Generator
    ) -> None:
        self.everything, self.views, self.batch_size, self.generator = everything, views, batch_size, generator

    def __len__(self) -> int:
        return len(self.everything)

    @property
    def n_steps(self) -> int:
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[LabelledBatch, None]]:
        rows = torch.arange(len(self), device=self.everything.samples.device)
        for index in shuffled(rows, self.batch_size, self.generator):
            batch = self.everything.take(index)
            batch.samples = changed(batch.samples, self.views, self.generator)
            yield batch, None
