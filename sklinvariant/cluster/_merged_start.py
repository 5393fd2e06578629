"""Initialisation of the heads of invariant clustering: small k-means clusters, merged to maximise mutual information.

From random heads, training ends in local optima in which two classes share one cluster and another class is split into
two. Small clusters contain almost only one class each, and the pairs show which of them belong together. Merging them
is a search over a small table, which can be repeated from many starts before the network is trained.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sklinvariant.accumulate import Blocks, accumulate, fit_kmeans
from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.cluster._merge import merge_clusters
from sklinvariant.cluster._stability import agreement
from sklinvariant.images import scale_pixels
from sklinvariant.ops import chunk_share, concatenated, joint_information, nearest_codewords
from sklinvariant.pairs import PartnerPairs, ViewPairs, same, shuffled

_MOST_ROWS = 20_000  # largest number of rows for k-means
_ROWS_A_PART = 8
_MOST_PARTS = 400
_LONGEST_WALK = 30  # steps along neighbours
_DRAWS = 10  # number of partners drawn for each pair; more if there are fewer pairs than the next number
_FEWEST_PAIRS = 100_000
_STEPS = 50
_MERGINGS, _STARTS = 6, 10  # mergings that are compared, and random starts of each
_AT_ONCE, _VALUES = 1 << 14, 1 << 22  # pairs processed at a time, and values of their samples


@torch.no_grad()
def merged_labels(
    source: ViewPairs | PartnerPairs,
    pairs: torch.Tensor,
    n_clusters: int,
    n_heads: int,
    *,
    entropy_weight: float,
    rescale: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> torch.Tensor:
    """Clusters (n, h) of all samples, from different small clusters for each head; ``pairs`` are indices of pairs.

    ``rescale`` maps flat samples to the rows that k-means clusters.
    """
    parts, joints = _parts(source, pairs, max(_usual_parts(pairs), 2 * n_clusters), n_heads, rescale)
    labels = []
    for joint, part in zip(joints, parts, strict=True):
        clusters = merge_clusters(joint.cpu(), n_clusters, entropy_weight=entropy_weight, generator=source.generator)
        labels.append(torch.as_tensor(clusters).to(part.device)[part])
    return torch.stack(labels, 1)


@torch.no_grad()
def stabilities_of_merging(
    source: ViewPairs | PartnerPairs,
    pairs: torch.Tensor,
    numbers: range,
    *,
    entropy_weight: float,
    rescale: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> np.ndarray:
    """For each number of clusters, how well merged clusters agree that were merged from different small clusters.

    The agreement is the mean adjusted Rand index between all pairs of mergings, or 0 if clusters are missing.
    """
    parts, joints = _parts(source, pairs, max(_usual_parts(pairs), 2 * numbers[-1]), _MERGINGS, rescale)
    tables, codes = [joint.cpu() for joint in joints], [part.cpu().numpy() for part in parts]
    settings: Any = {"entropy_weight": entropy_weight, "n_starts": _STARTS, "generator": source.generator}
    found = []
    for k in numbers:
        labels = [merge_clusters(table, k, **settings)[code] for table, code in zip(tables, codes, strict=True)]
        found.append(agreement(labels, k))
    return np.array(found)


def _parts(source, pairs, n_parts, n_books, rescale):
    """The small clusters of all samples in ``n_books`` codebooks, one (n,) each, and their joints (n_books, m, m)."""
    samples = source.samples

    def rows(index):
        return rescale(scale_pixels(samples[index]).flatten(1))

    seen = source.rows[pairs]
    books = [_small_clusters(rows, seen, n_parts, source.generator) for _ in range(n_books)]
    some = torch.arange(len(samples), device=samples.device).split(chunk_share(_at_once(samples)))
    nearest = (torch.stack([nearest_codewords(part, book) for book in books], 1) for part in map(rows, some))
    parts = concatenated(nearest, len(samples)).unbind(1)
    if _is_table(source):
        return parts, _joints_of_walks(source, pairs, parts, len(books[0]))
    return parts, _joints_of_views(source, pairs, parts, books, rescale)


@torch.no_grad()
def information_of_walks(source: PartnerPairs, rows: torch.Tensor) -> float:
    """Mutual information, in nats, between the small clusters of ``rows`` (n, d) at both ends of walks."""
    pairs = torch.arange(len(source), device=rows.device)
    book = _small_clusters(rows.__getitem__, pairs, _usual_parts(pairs), source.generator)
    joint = _joints_of_walks(source, pairs, [nearest_codewords(rows, book)], len(book))[0]
    return float(joint_information(joint.double()))


def _is_table(source):
    """Whether the partners are samples, whose small clusters are known, and not views of them."""
    return isinstance(source, PartnerPairs) and source.views is same


def _at_once(samples):
    return max(1, min(_AT_ONCE, _VALUES // max(1, samples.shape[1:].numel())))


def _usual_parts(pairs):
    return min(len(pairs) // _ROWS_A_PART, _MOST_PARTS)


def _small_clusters(rows, seen, n_parts, generator):
    """The centres of small clusters of ``rows(index)`` of the indices ``seen``."""
    few = seen[torch.randperm(len(seen), generator=generator)[:_MOST_ROWS].to(seen.device)]
    found = rows(few)
    sample = Blocks(found, found.new_ones(1).expand(len(few)))
    n_parts = min(max(n_parts, 1), len(few))
    return fit_kmeans(sample, n_parts, max_iter=20, tol=1e-3, generator=generator)[0]


def _joints_of_walks(source, pairs, parts, m):
    """The joints (h, m, m) of the small clusters of both samples of a pair, from ``parts``, one (n,) for each head.

    The partner of a sample with neighbours is the end of a long walk along them. Two samples of a class then meet about
    equally often, so that no class gains information by being split. In training, walks are short.
    """
    longest = _LONGEST_WALK if source.most_steps > 1 else 1
    n_draws = max(_DRAWS, math.ceil(_FEWEST_PAIRS / len(pairs)))

    def count(index, _):
        first, second = source.rows[index], source.walk(index, longest)
        return torch.stack([_count(part[first], part[second], m) for part in parts])

    return accumulate(count, pairs.repeat(n_draws).split(_AT_ONCE))


def _joints_of_views(source, pairs, parts, books, rescale):
    def count(index, _):
        second = rescale(source.take(index, 1)[1].flatten(1))
        found = (nearest_codewords(second, book) for book in books)
        counts = zip(parts, found, strict=True)
        return torch.stack([_count(part[source.rows[index]], cells, len(books[0])) for part, cells in counts])

    return accumulate(count, (index for index in pairs.split(_at_once(source.samples)) for _ in range(_DRAWS)))


def _count(first, second, m):
    return (first * m + second).bincount(minlength=m * m).view(m, m)


def pretrain_heads(
    network: ClusterNetwork,
    source: ViewPairs | PartnerPairs,
    pairs: torch.Tensor,
    labels: torch.Tensor,
    *,
    optimizer: Callable[..., torch.optim.Optimizer],
    learning_rate: float,
    batch_size: int,
) -> None:
    """Train a network for a few steps to predict the labels (n, h) of its heads for both samples of each pair."""
    steps = optimizer(network.parameters(), lr=learning_rate)
    epochs = (shuffled(pairs, batch_size, source.generator) for _ in range(math.ceil(_STEPS * batch_size / len(pairs))))
    for index in itertools.islice(itertools.chain.from_iterable(epochs), _STEPS):
        scores = network.heads.scores(network.features(torch.cat(source.take(index, 1))))
        loss = cross_entropy(scores.flatten(0, 1), labels[source.rows[index]].repeat(2, 1).flatten())
        steps.zero_grad()
        loss.backward()
        steps.step()
