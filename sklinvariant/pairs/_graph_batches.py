"""Batches of samples, and which of them are neighbours in a graph."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from sklinvariant.pairs._sample_pairs import GraphPairs, SourceBatches, shuffled


class NeighborBatch:
    """Samples of a batch, and which of them are neighbours.

    A slice of the batch has the samples of the slice, and the neighbours that they have in the whole batch.

    Parameters
    ----------
    samples : tensor of shape (m, ...)
        The samples.
    near : bool tensor of shape (r, m)
        The neighbours of each of the r samples of a slice, or of all, among the samples of the whole batch.
    """

    def __init__(self, samples: torch.Tensor, near: torch.Tensor) -> None:
        self.samples, self.near = samples, near

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice) -> NeighborBatch:
        return NeighborBatch(self.samples[rows], self.near[rows])


class GraphBatches(SourceBatches):
    """Batches of samples that have neighbours, each together with one of its neighbours, shuffled in each pass.

    A batch contains every sample once, so that it has between ``batch_size`` and twice as many.

    Parameters
    ----------
    source : GraphPairs
        The samples and the graph of their neighbours.
    batch_size : int
        Maximum number of samples in a batch, without their neighbours.
    """

    def __init__(self, source: GraphPairs, *, batch_size: int) -> None:
        super().__init__(source, batch_size)
        self.everything = torch.arange(len(source), device=source.samples.device)

    @property
    def n_steps(self) -> int:
        """Number of batches of a pass."""
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[NeighborBatch, None]]:
        for index in shuffled(self.everything, self.batch_size, self.generator):
            samples = torch.cat([self.source.rows[index], self.source.walk(index, 1)]).unique()  # in ascending order
            yield NeighborBatch(self.source.samples[samples], self.source.graph.among(samples)), None
