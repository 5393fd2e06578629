"""Batches of rows and of bags, taken from tensors that are already on the device, or from blocks."""

import math
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch

from sklinvariant.accumulate import Blocks
from sklinvariant.base import documented_by
from sklinvariant.networks import Bags
from sklinvariant.ops import gather_bags


class Batch:
    """Bags, their targets and their weights.

    Parameters
    ----------
    bags : Bags
        The descriptors of n bags.
    target : tensor of shape (n,) or (n, n_outputs), or None
        Class numbers, 0/1 labels or real targets.
    weight : tensor of shape (n,)
        Weight of each bag.
    """

    def __init__(self, bags: Bags, target: torch.Tensor | None, weight: torch.Tensor) -> None:
        self.bags, self.target, self.weight = bags, target, weight

    def __len__(self) -> int:
        return len(self.bags.offsets) - 1

    def __getitem__(self, rows: slice) -> "Batch":
        values, offsets = self.bags
        offsets = offsets[rows.start : rows.stop + 1]
        bags = Bags(values[offsets[0] : offsets[-1]], offsets - offsets[0])
        return Batch(bags, None if self.target is None else self.target[rows], self.weight[rows])


class RowBatches:
    """Batches of rows, shuffled in each pass.

    Their sizes differ by at most one row and do not exceed ``batch_size``. A small last batch of the remaining rows
    would change the model as much as any other batch, and would be too small for regularisers of whole batches. The
    rows of `Blocks` are converted batch by batch.

    Parameters
    ----------
    rows : tensor of shape (n, ...) or Blocks
        The rows.
    batch_size : int
        Maximum number of rows in a batch.
    generator : torch.Generator
        Source of the order.
    """

    def __init__(self, rows: torch.Tensor | Blocks, *, batch_size: int, generator: torch.Generator) -> None:
        self.rows, self.batch_size, self.generator = rows, batch_size, generator

    def __len__(self) -> int:
        return self.rows.shape[0]

    @property
    def n_steps(self) -> int:
        """Number of batches of a pass."""
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, None]]:
        order = torch.randperm(len(self), generator=self.generator).to(self.rows.device)
        for index in order.tensor_split(math.ceil(len(self) / self.batch_size)):
            yield self.rows.take(index) if isinstance(self.rows, Blocks) else self.rows.index_select(0, index), None


@documented_by(Batch)
class BagBatches:
    """Batches of bags, shuffled in each pass.

    Parameters
    ----------
    batch_size : int
        Maximum number of bags in a batch.
    generator : torch.Generator
        Source of the order and of the sampled descriptors.
    descriptors_per_sample : int, float or None, default=None
        Number of descriptors (an int) or their share (a float) that each batch draws from each bag, without replacement
        (equation 5 of Katharopoulos et al. 2017). None uses all.
    """

    def __init__(
        self,
        bags: Bags,
        target: torch.Tensor | None,
        weight: torch.Tensor,
        *,
        batch_size: int,
        generator: torch.Generator,
        descriptors_per_sample: int | float | None = None,
    ) -> None:
        self.bags, self.target, self.weight = bags, target, weight
        self.batch_size, self.generator, self.per_sample = batch_size, generator, descriptors_per_sample
        sizes = np.diff(bags.offsets)
        self.size = int(sizes[0]) if (sizes == sizes[0]).all() else None

    def __len__(self) -> int:
        return len(self.bags.offsets) - 1

    @property
    def n_steps(self) -> int:
        """Number of batches of a pass."""
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, None]]:
        order = torch.randperm(len(self), generator=self.generator)
        for index in order.split(self.batch_size):
            yield self._batch(index), None

    def _batch(self, index):
        bags = self._gather(index)
        index = index.to(self.weight.device)
        target = None if self.target is None else self.target[index]
        return Batch(bags, target, self.weight[index])

    def _gather(self, index):
        values, offsets = self.bags
        if self.size and self.per_sample is None:  # bags of equal size: take whole blocks, without a list of rows
            blocks = values.view(len(self), -1).index_select(0, index.to(values.device))
            return Bags(blocks.view(-1, values.shape[1]), offsets[: len(index) + 1])
        rows, offsets = gather_bags(offsets, index.numpy())
        if self.per_sample is not None:
            rows, offsets = self._sample(rows, offsets)
        return Bags(values.index_select(0, torch.from_numpy(rows).to(values.device)), offsets)

    def _sample(self, rows, offsets):
        sizes = np.diff(offsets)
        bag = np.repeat(np.arange(len(sizes)), sizes)
        keys = torch.rand(len(rows), generator=self.generator, dtype=torch.float64).numpy()
        order = np.argsort(bag + keys)  # shuffles the rows within each bag
        rank = np.arange(len(rows)) - np.repeat(offsets[:-1], sizes)
        if isinstance(self.per_sample, Integral):
            kept = np.minimum(sizes, int(self.per_sample))
        else:
            kept = np.ceil(self.per_sample * sizes - 1e-9).astype(sizes.dtype)  # 0.07 of 100 is 7, not 8
        return rows[order[rank < np.repeat(kept, sizes)]], np.concatenate([[0], np.cumsum(kept)])
