"""Which samples should fall into one cluster: sources of pairs (x, x'), and batches of them.

A source has a length, ``rows`` (the number of the first sample of each pair), ``without(auxiliary)`` (the pairs that
leave some samples out) and ``take(index, n_repeats) -> (first, second)``: (b, ...) samples and (r b, ...) partners, r
of each sample, all first ones before the second ones. All of it is on the samples' device.
"""

import math

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from sklinvariant.base import as_tensor
from sklinvariant.ops import in_safe_unit
from sklinvariant.pairs._frames import consecutive_mask
from sklinvariant.transforms import ColorJitter, Compose, Flip, Rotation, Scale, Shear, Translation

MOST_STEPS = 3  # from neighbour to neighbour
_COMPARED = 1 << 32  # numbers that a search for neighbours compares in a call, during which Ctrl-C is not heard
_BLOCK = 256  # rows that scikit-learn compares at a time


def default_views(channels):
    """What leaves the content of an image intact: small turns, stretches and shifts; colours and mirroring too.

    Grey images are not mirrored: those are digits, letters and symbols as often as not. Other channels than red, green
    and blue have no colours that could be changed.
    """
    moves = [Rotation(15), Scale(0.85, 1.15), Shear(10), Translation(0.1)]
    if channels == 1:
        return Compose(moves, fill="edge")
    colours = [ColorJitter(0.4, 0.4, 0.4, 0.1)] if channels == 3 else []
    return Compose([*moves, Flip(), *colours], fill="edge")


def same(samples, generator):
    """Views that change nothing."""
    return samples


def nearest_partners(samples, n_neighbors, auxiliary=None):
    """(n, k) numbers of the other samples that are nearest to each of (n, ...); k is at most n - 1.

    Samples that are not ``auxiliary`` (n,) have neighbours that are not, so that no walk leads from them to one.
    """
    rows = in_safe_unit(samples.flatten(1).cpu())[0]
    rows = (rows - rows.mean(0)).numpy()  # from the middle, so that products of large numbers do not cancel
    inside = range(len(rows)) if auxiliary is None else (~auxiliary).nonzero().squeeze(1).tolist()
    if len(inside) < 2:
        raise ValueError(f'pairs="neighbors" needs more samples than n_samples={len(inside)}')
    k = min(n_neighbors, len(inside) - 1)
    found = _nearest(rows, k)
    if len(inside) < len(rows):
        found[inside] = torch.tensor(inside).numpy()[_nearest(rows[inside], k)]
    return as_tensor(found).to(samples.device)


def _nearest(rows, k):
    """Numbers (n, k) of the nearest other rows (n, d), found for some rows at a time: no call takes long."""
    search = NearestNeighbors(n_neighbors=k + 1).fit(rows)
    step = max(1, _COMPARED // rows.size // _BLOCK) * _BLOCK
    parts = [search.kneighbors(rows[i : i + step], return_distance=False) for i in range(0, len(rows), step)]
    found = np.concatenate(parts)
    own = found == np.arange(len(rows))[:, None]
    own[~own.any(1), 0] = True  # where it is not among so many that equal it
    return found[~own].reshape(len(rows), -1)


class ViewPairs:
    """A sample and what ``views(samples, generator)`` makes of it."""

    def __init__(self, samples, views, generator):
        self.samples, self.views, self.generator = samples, views, generator
        self.rows = torch.arange(len(samples), device=samples.device)

    def __len__(self):
        return len(self.rows)

    def without(self, auxiliary):
        """Numbers of the pairs without samples that are ``auxiliary`` (n,)."""
        return (~auxiliary).nonzero().squeeze(1)

    def take(self, index, n_repeats):
        first = self.samples.index_select(0, index)
        return first, changed(first.repeat(n_repeats, *[1] * (first.ndim - 1)), self.views, self.generator)


class PartnerPairs:
    """A sample and another, drawn from its partners (n, k), given as numbers of samples, seen by ``views``.

    ``most_steps`` above 1 goes on from partner to partner, a number of steps drawn for each batch: where partners are
    near samples, those a few steps away along the data are as likely of one kind, and less alike.
    """

    def __init__(self, samples, partners, generator, *, rows=None, most_steps=1, views=same):
        self.samples, self.partners, self.generator = samples, partners, generator
        self.most_steps, self.views = most_steps, views
        self.rows = torch.arange(len(partners), device=samples.device) if rows is None else rows

    def __len__(self):
        return len(self.rows)

    def without(self, auxiliary):
        """Numbers of the pairs without samples, or partners to draw, that are ``auxiliary`` (n,)."""
        return (~(auxiliary[self.rows] | auxiliary[self.partners].any(1))).nonzero().squeeze(1)

    def take(self, index, n_repeats):
        second = index.repeat(n_repeats)
        n_steps = int(torch.randint(self.most_steps, (), generator=self.generator)) + 1
        for _ in range(n_steps):
            drawn = torch.randint(self.partners.shape[1], (len(second),), generator=self.generator)
            second = self.partners[second, drawn.to(second.device)]
        second = changed(self.samples.index_select(0, second), self.views, self.generator)
        return self.samples.index_select(0, self.rows[index]), second


def changed(samples, views, generator):
    seen = torch.as_tensor(views(samples, generator)).to(samples)
    if seen.shape != samples.shape:
        raise ValueError(
            f"transforms made samples of shape {tuple(seen.shape)} of samples of shape {tuple(samples.shape)}; the "
            "shape must stay"
        )
    return seen


def explicit_pairs(samples, views, generator):
    """Pairs that were given, as samples one after the other: rows 2 i and 2 i + 1 are a pair."""
    numbers = torch.arange(len(samples), device=samples.device).view(-1, 2)
    return PartnerPairs(samples, numbers[:, 1:], generator, rows=numbers[:, 0], views=views)


def temporal_pairs(samples, groups, views, generator):
    """Each frame and the next one of its clip."""
    first = consecutive_mask(groups, len(samples)).nonzero().squeeze(1).to(samples.device)
    if len(first) == 0:
        raise ValueError(
            f'pairs="temporal" finds no two consecutive frames of one clip in data with n_samples={len(samples)}'
        )
    return PartnerPairs(samples, first[:, None] + 1, generator, rows=first, views=views)


class ClusterBatch:
    """What `ClusterNetwork` is called with: samples, their partners, and which heads are to learn."""

    def __init__(self, first, second, auxiliary=False):
        self.first, self.second, self.auxiliary = first, second, auxiliary

    def __len__(self):
        return len(self.first)


class SamplePairBatches:
    """Batches of the pairs of a source in a new random order each time they are walked through.

    With auxiliary heads the walk is made twice: first over all pairs, for these, then over the ``main`` pairs (numbers)
    for the main heads.
    """

    def __init__(self, source, main, *, batch_size, n_repeats, with_auxiliary=False):
        self.source, self.batch_size, self.n_repeats = source, batch_size, n_repeats
        everything = torch.arange(len(source), device=main.device)
        self.turns = [(True, everything), (False, main)] if with_auxiliary else [(False, main)]

    @property
    def generator(self):
        return self.source.generator

    def __len__(self):
        return len(self.source)

    @property
    def n_steps(self):
        return sum(math.ceil(len(pairs) / self.batch_size) for _, pairs in self.turns)

    def __iter__(self):
        for auxiliary, pairs in self.turns:
            for index in shuffled(pairs, self.batch_size, self.generator):
                yield ClusterBatch(*self.source.take(index, self.n_repeats), auxiliary), None


def shuffled(numbers, batch_size, generator):
    """The numbers in a random order, in batches of one size, give or take one."""
    order = torch.randperm(len(numbers), generator=generator).to(numbers.device)
    return numbers[order].tensor_split(math.ceil(len(numbers) / batch_size))
