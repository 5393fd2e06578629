"""Sources of pairs (x, x') of samples that should be in the same cluster, and batches of pairs.

A source has a length, ``rows`` (the index of the first sample of each pair), ``without(auxiliary)`` (the pairs without
auxiliary samples) and ``take(index, n_repeats) -> (first, second)``: samples (b, ...) and r partners of each (r b,
...), where the first partners of all samples precede the second ones. All tensors are on the device of the samples.
Images of integers are converted to floats when they are taken.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sklinvariant.base import ArrayLike, documented_by
from sklinvariant.images import scale_pixels
from sklinvariant.pairs._frames import consecutive_mask
from sklinvariant.pairs._neighbor_graph import NeighborGraph
from sklinvariant.transforms import (
    ColorJitter,
    Compose,
    Flip,
    Rotation,
    Scale,
    Shear,
    Translation,
    apply_library,
    library_of,
)

Views = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

MOST_STEPS = 3  # largest number of steps of a random walk along neighbours


def default_views(channels: int) -> Compose:
    """Default transformations that keep the content: small rotations, scales, shears, shifts, flips and colour changes.

    Grey images are not flipped, because they often show digits, letters and symbols. Colours are changed only if there
    are three channels.
    """
    moves = [Rotation(15), Scale(0.85, 1.15), Shear(10), Translation(0.1)]
    if channels == 1:
        return Compose(moves, fill="edge")
    colours = [ColorJitter(0.4, 0.4, 0.4, 0.1)] if channels == 3 else []
    return Compose([*moves, Flip(), *colours], fill="edge")


def same(samples: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The identity as a view."""
    return samples


class ViewPairs:
    """Pairs of a sample and its view.

    Parameters
    ----------
    samples : tensor of shape (n, ...)
        The samples.
    views : callable
        Random transformation of the second samples of pairs, called as ``views(samples, generator)``.
    generator : torch.Generator
        Source of random numbers.
    """

    def __init__(self, samples: torch.Tensor, views: Views, generator: torch.Generator) -> None:
        self.samples, self.views, self.generator = samples, views, generator
        self.rows = torch.arange(len(samples), device=samples.device)

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, auxiliary: torch.Tensor) -> torch.Tensor:
        """Indices of the pairs without ``auxiliary`` (n,) samples."""
        return (~auxiliary).nonzero().squeeze(1)

    def take(self, index: torch.Tensor, n_repeats: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples of the pairs ``index`` and ``n_repeats`` partners of each."""
        first = _floats(self.samples, index)
        return first, changed(first.repeat(n_repeats, *[1] * (first.ndim - 1)), self.views, self.generator)


@documented_by(ViewPairs)
class PartnerPairs:
    """Pairs of a sample and the view of a random partner.

    Parameters
    ----------
    partners : int64 tensor of shape (r, k)
        Indices of the possible partners of the first sample of each pair.
    rows : int64 tensor of shape (r,) or None, default=None
        Indices of the first samples of the pairs. None takes all samples.
    most_steps : int, default=1
        Above 1, the partner is the end of a random walk along partners, of 1 to this many steps. If partners are
        neighbours, samples a few steps away are as likely of the same class, but less similar.
    """

    def __init__(
        self,
        samples: torch.Tensor,
        partners: torch.Tensor,
        generator: torch.Generator,
        *,
        rows: torch.Tensor | None = None,
        most_steps: int = 1,
        views: Views = same,
    ) -> None:
        self.samples, self.partners, self.generator = samples, partners, generator
        self.most_steps, self.views = most_steps, views
        self.rows = torch.arange(len(partners), device=samples.device) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, auxiliary: torch.Tensor) -> torch.Tensor:
        """Indices of the pairs whose sample and possible partners are not ``auxiliary`` (n,)."""
        return (~(auxiliary[self.rows] | auxiliary[self.partners].any(1))).nonzero().squeeze(1)

    def take(self, index: torch.Tensor, n_repeats: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples of the pairs ``index`` and ``n_repeats`` partners of each."""
        second = self.walk(index.repeat(n_repeats), self.most_steps)
        second = changed(_floats(self.samples, second), self.views, self.generator)
        return _floats(self.samples, self.rows[index]), second

    def walk(self, index: torch.Tensor, most_steps: int) -> torch.Tensor:
        """Indices of the samples at the ends of walks of random lengths that begin with the pairs ``index``."""
        lengths = torch.randint(most_steps, (len(index),), generator=self.generator).to(index.device)
        ends = index = self._step(index)
        for step in range(1, most_steps):
            index = self._step(index)
            ends = torch.where(lengths >= step, index, ends)
        return ends

    def _step(self, index):
        drawn = torch.randint(self.partners.shape[1], (len(index),), generator=self.generator)
        return self.partners[index, drawn.to(index.device)]


@documented_by(PartnerPairs)
class GraphPairs(PartnerPairs):
    """Pairs of a sample and the view of a random neighbour in a graph.

    Samples may have different numbers of neighbours. Those without neighbours are no first samples of pairs, and a walk
    that reaches one of them ends there.

    Parameters
    ----------
    graph : NeighborGraph
        The neighbours of the samples.
    """

    def __init__(
        self,
        samples: torch.Tensor,
        graph: NeighborGraph,
        generator: torch.Generator,
        *,
        most_steps: int = 1,
        views: Views = same,
    ) -> None:
        self.graph = graph = graph.to(samples.device)
        self.degrees = graph.starts.diff()
        rows = self.degrees.nonzero().squeeze(1)
        super().__init__(samples, graph.ends, generator, rows=rows, most_steps=most_steps, views=views)

    def without(self, auxiliary: torch.Tensor) -> torch.Tensor:
        """Indices of the pairs whose sample is not ``auxiliary`` (n,); `NeighborGraph.without` removes the partners."""
        return (~auxiliary[self.rows]).nonzero().squeeze(1)

    def walk(self, index: torch.Tensor, most_steps: int) -> torch.Tensor:
        """Indices of the samples at the ends of walks of random lengths that begin with the pairs ``index``."""
        return super().walk(self.rows[index], most_steps)

    def _step(self, index):
        shares = torch.rand(len(index), generator=self.generator, dtype=torch.float64).to(index.device)
        degrees = self.degrees[index]
        drawn = self.graph.starts[index] + (shares * degrees).long()
        return torch.where(degrees > 0, self.partners[drawn.clamp_max(len(self.partners) - 1)], index)


def _floats(samples, index):
    """Some of the samples, as floats."""
    return scale_pixels(samples.index_select(0, index))


def changed(samples: torch.Tensor, views: Views, generator: torch.Generator) -> torch.Tensor:
    """The views of samples, which must keep their shape."""
    by_library = library_of(views) is not None
    seen = apply_library(views, samples, generator) if by_library else torch.as_tensor(views(samples, generator))
    seen = seen.to(samples)
    if seen.shape != samples.shape:
        raise ValueError(
            f"transforms changed the shape of the samples from {tuple(samples.shape)} to {tuple(seen.shape)}, but "
            "must keep it. Remove transforms that change the shape"
        )
    return seen


def explicit_pairs(samples: torch.Tensor, views: Views, generator: torch.Generator) -> PartnerPairs:
    """Pairs that are given explicitly: rows 2 i and 2 i + 1 are a pair."""
    numbers = torch.arange(len(samples), device=samples.device).view(-1, 2)
    return PartnerPairs(samples, numbers[:, 1:], generator, rows=numbers[:, 0], views=views)


def temporal_pairs(samples: torch.Tensor, groups: ArrayLike, views: Views, generator: torch.Generator) -> PartnerPairs:
    """Pairs of each frame and the next frame of its clip."""
    first = consecutive_mask(groups, len(samples)).nonzero().squeeze(1).to(samples.device)
    if len(first) == 0:
        raise ValueError(
            f'pairs="temporal" finds no two consecutive frames of one clip in data with n_samples={len(samples)}. Pass '
            "clips of at least two frames"
        )
    return PartnerPairs(samples, first[:, None] + 1, generator, rows=first, views=views)


class ClusterBatch:
    """A batch of samples and their partners.

    Parameters
    ----------
    first : tensor of shape (n, ...)
        The samples.
    second : tensor of shape (n_repeats * n, ...)
        The partners: one of each sample, then another one of each, and so on.
    auxiliary : bool, default=False
        Whether the auxiliary heads are trained, instead of the main heads.
    """

    def __init__(self, first: torch.Tensor, second: torch.Tensor, auxiliary: bool = False) -> None:
        self.first, self.second, self.auxiliary = first, second, auxiliary

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, rows: slice) -> "ClusterBatch":
        second = self.second.unflatten(0, (-1, len(self.first)))[:, rows].flatten(0, 1)
        return ClusterBatch(self.first[rows], second, self.auxiliary)


class SourceBatches:
    """Base of the batches that are drawn from a source of pairs."""

    def __init__(self, source: ViewPairs | PartnerPairs, batch_size: int) -> None:
        self.source: Any = source
        self.batch_size = batch_size

    @property
    def generator(self) -> torch.Generator:
        """The generator of the source."""
        return self.source.generator

    def __len__(self) -> int:
        return len(self.source)


class SamplePairBatches(SourceBatches):
    """Batches of the pairs of a source, shuffled in each pass.

    Parameters
    ----------
    source : ViewPairs or PartnerPairs
        The pairs.
    main : int64 tensor of shape (m,)
        Indices of the pairs on which the main heads are trained.
    batch_size : int
        Maximum number of pairs in a batch, without repeats.
    n_repeats : int
        Number of partners of each sample.
    with_auxiliary : bool, default=False
        Whether there are auxiliary heads. Each pass then has two parts: all pairs for the auxiliary heads, and then
        those of ``main`` for the main heads.
    """

    def __init__(
        self,
        source: ViewPairs | PartnerPairs,
        main: torch.Tensor,
        *,
        batch_size: int,
        n_repeats: int,
        with_auxiliary: bool = False,
    ) -> None:
        super().__init__(source, batch_size)
        self.n_repeats = n_repeats
        everything = torch.arange(len(source), device=main.device)
        self.turns = [(True, everything), (False, main)] if with_auxiliary else [(False, main)]

    @property
    def n_steps(self) -> int:
        """Number of batches of a pass."""
        return sum(self.steps_of_turns)

    @property
    def steps_of_turns(self) -> list[int]:
        """Numbers of batches of the turns of a pass: for the auxiliary heads, if there are any, and the main heads."""
        return [math.ceil(len(pairs) / self.batch_size) for _, pairs in self.turns]

    def __iter__(self) -> Iterator[tuple[ClusterBatch, None]]:
        for auxiliary, pairs in self.turns:
            for index in shuffled(pairs, self.batch_size, self.generator):
                first, second = self.source.take(index, self.n_repeats)
                yield ClusterBatch(first, second, auxiliary), None


def shuffled(numbers: torch.Tensor, batch_size: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """The numbers in random order, in batches whose sizes differ by at most one."""
    order = torch.randperm(len(numbers), generator=generator).to(numbers.device)
    return numbers[order].tensor_split(math.ceil(len(numbers) / batch_size))
