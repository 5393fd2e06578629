"""Which samples should fall into one cluster: sources of pairs (x, x'), and batches of them.

A source has a length and ``take(index, n_repeats) -> (first, second)``: (b, ...) samples and (r b, ...) partners, r of
each sample, all first ones before the second ones. All of it is on the samples' device.
"""

import math

import torch
from sklearn.neighbors import NearestNeighbors

from sklinvariant._descriptors import as_tensor
from sklinvariant.pooling._frames import following
from sklinvariant.transforms import ColorJitter, Compose, Flip, Rotation, Scale, Shear, Translation

MOST_STEPS = 3  # from neighbour to neighbour


def default_views(channels):
    """What leaves the content of an image intact: small turns, stretches and shifts; colours and mirroring too.

    Grey images are not mirrored: those are digits, letters and symbols as often as not.
    """
    moves = [Rotation(15), Scale(0.85, 1.15), Shear(10), Translation(0.1)]
    if channels == 1:
        return Compose(moves, fill="edge")
    return Compose([*moves, Flip(), ColorJitter(0.4, 0.4, 0.4, 0.1)], fill="edge")


def nearest_partners(rows, n_neighbors):
    """(n, k) numbers of the other rows that are nearest to each of (n, d) rows; k is at most n - 1."""
    k = min(n_neighbors, len(rows) - 1)
    host = rows.flatten(1).cpu().numpy()
    return as_tensor(NearestNeighbors(n_neighbors=k).fit(host).kneighbors(return_distance=False)).to(rows.device)


class ViewPairs:
    """A sample and what ``views(samples, generator)`` makes of it."""

    def __init__(self, samples, views, generator):
        self.samples, self.views, self.generator = samples, views, generator

    def __len__(self):
        return len(self.samples)

    def take(self, index, n_repeats):
        first = self.samples.index_select(0, index)
        repeated = first.repeat(n_repeats, *[1] * (first.ndim - 1))
        second = torch.as_tensor(self.views(repeated, self.generator)).to(first)
        if second.shape != repeated.shape:
            raise ValueError(
                f"pairs made samples of shape {tuple(second.shape)} of samples of shape {tuple(repeated.shape)}; the "
                "shape must stay"
            )
        return first, second


class PartnerPairs:
    """A sample and another, drawn from its partners (n, k), given as numbers of samples.

    ``most_steps`` above 1 goes on from partner to partner, a number of steps drawn for each batch: where partners are
    near samples, those a few steps away along the data are as likely of one kind, and less alike.
    """

    def __init__(self, samples, partners, generator, firsts=None, most_steps=1):
        self.samples, self.partners, self.generator, self.most_steps = samples, partners, generator, most_steps
        self.firsts = torch.arange(len(partners), device=samples.device) if firsts is None else firsts

    def __len__(self):
        return len(self.partners)

    def take(self, index, n_repeats):
        second = index.repeat(n_repeats)
        n_steps = int(torch.randint(self.most_steps, (), generator=self.generator)) + 1
        for _ in range(n_steps):
            drawn = torch.randint(self.partners.shape[1], (len(second),), generator=self.generator)
            second = self.partners[second, drawn.to(second.device)]
        return self.samples.index_select(0, self.firsts[index]), self.samples.index_select(0, second)


def explicit_pairs(samples, generator):
    """Pairs that were given, as samples one after the other: rows 2 i and 2 i + 1 are a pair."""
    numbers = torch.arange(len(samples), device=samples.device).view(-1, 2)
    return PartnerPairs(samples, numbers[:, 1:], generator, numbers[:, 0])


def temporal_pairs(samples, groups, generator):
    """Each frame and the next one of its clip."""
    first = following(groups, len(samples)).nonzero().squeeze(1).to(samples.device)
    if len(first) == 0:
        raise ValueError(
            f'pairs="temporal" finds no two consecutive frames of one clip in data with n_samples={len(samples)}'
        )
    return PartnerPairs(samples, first[:, None] + 1, generator, first)


class ClusterBatch:
    """What `ClusterNetwork` is called with: samples, their partners, and which heads are to learn."""

    def __init__(self, first, second, auxiliary=False):
        self.first, self.second, self.auxiliary = first, second, auxiliary

    def __len__(self):
        return len(self.first)


class PairBatches:
    """Batches of the pairs of a source in a new random order each time they are walked through.

    With auxiliary heads the walk is made twice: first for these, then for the main ones.
    """

    def __init__(self, source, *, batch_size, n_repeats, generator, with_auxiliary=False):
        self.source, self.batch_size, self.n_repeats = source, batch_size, n_repeats
        self.generator, self.turns = generator, (True, False) if with_auxiliary else (False,)

    def __len__(self):
        return len(self.source)

    @property
    def n_steps(self):
        return len(self.turns) * math.ceil(len(self) / self.batch_size)

    def __iter__(self):
        for auxiliary in self.turns:
            for index in self._order().tensor_split(math.ceil(len(self) / self.batch_size)):
                yield ClusterBatch(*self.source.take(index, self.n_repeats), auxiliary), None

    def _order(self):
        order = torch.randperm(len(self), generator=self.generator)
        return order.to(self.source.samples.device)
