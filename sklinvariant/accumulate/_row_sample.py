"""A random sample of the rows of data that are read in parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklinvariant.bags import DescriptorSets
from sklinvariant.base import Input, as_numpy, torch_generator


@dataclass(frozen=True)
class RowSample:
    """A uniform random sample, without replacement, of the rows read so far, in the order in which they were read.

    Each row has a random key that depends on the seed and on the number of rows before it. The sample contains the rows
    with the smallest keys. It therefore does not depend on how the rows are divided into parts.

    Parameters
    ----------
    rows : array of shape (m, d)
        The sample: all rows if they are not more than ``size``.
    keys : array of shape (m,)
        Their keys.
    n_rows : int
        Number of rows read so far.
    size : int
        Largest size of the sample.
    seed : int
        Seed of the keys.
    """

    rows: np.ndarray
    keys: np.ndarray
    n_rows: int
    size: int
    seed: int

    @classmethod
    def empty(cls, n_features: int, size: int, seed: int) -> RowSample:
        """The sample before any rows are read."""
        return cls(np.empty((0, n_features), np.float32), np.empty(0), 0, size, seed)

    def extended(self, values: torch.Tensor, dtype: torch.dtype) -> RowSample:
        """The sample after more rows (n, d) are read; only those that enter the sample are converted to ``dtype``."""
        generator: Any = np.random.PCG64(self.seed)
        keys = np.random.Generator(generator.advance(self.n_rows)).random(len(values))
        keys = np.concatenate([self.keys, keys])
        kept = np.arange(len(keys))
        if len(keys) > self.size:
            kept = np.sort(np.argpartition(keys, self.size)[: self.size])
        earlier = kept[kept < len(self.rows)]
        new = torch.from_numpy(kept[len(earlier) :] - len(self.rows)).to(values.device)
        added = as_numpy(values[new].to(dtype))
        rows = np.concatenate([self.rows[earlier], added]) if len(earlier) else added
        return RowSample(rows, keys[kept], self.n_rows + len(values), self.size, self.seed)


def sample_descriptors(inputs: Iterable[Input], size: int | None, random_state: Any) -> Input:
    """A random sample of at most ``size`` descriptors of bags that are read in parts, as the `Input` of one bag."""
    if size is None:
        raise ValueError(
            "X is an iterable, of which subsample=None would keep all descriptors. Set subsample to a number of "
            "descriptors that fit into memory"
        )
    sample = RowSample.empty(0, size, torch_generator(random_state).initial_seed())
    for given in inputs:
        sample = sample.extended(given.data.values, given.dtype)
    bag = DescriptorSets(torch.from_numpy(sample.rows), np.array([0, len(sample.rows)]))
    return replace(given, data=bag)
