"""Initialisation of the heads of invariant clustering: small k-means clusters, merged to maximise mutual information.

From random heads, training ends in local optima in which two classes share one cluster and another class is split into
two. Small clusters contain almost only one class each, and the pairs show which of them belong together. Merging them
is a search over a small table, which can be repeated from many starts before the network is trained.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from sklinvariant.accumulate import Blocks, accumulate, fit_kmeans
from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.cluster._merge import merge_clusters
from sklinvariant.ops import nearest_codewords
from sklinvariant.pairs import PartnerPairs, ViewPairs, shuffled

_MOST_ROWS = 20_000  # largest number of rows for k-means
_ROWS_A_PART = 32
_PARTS_A_CLUSTER = 20  # the largest value
_MOST_PARTS = 400
_DRAWS = 10  # number of partners drawn for each pair
_STEPS = 50
_AT_ONCE = 4096


@torch.no_grad()
def merged_labels(
    source: ViewPairs | PartnerPairs, pairs: torch.Tensor, n_clusters: int, n_heads: int, *, entropy_weight: float
) -> torch.Tensor:
    """Clusters (n, h) of all samples, from different small clusters for each head; ``pairs`` are indices of pairs."""
    rows = source.samples.flatten(1)
    seen = source.rows[pairs]
    few = seen[torch.randperm(len(seen), generator=source.generator)[:_MOST_ROWS].to(seen.device)]
    n_parts = min(len(seen) // _ROWS_A_PART, _PARTS_A_CLUSTER * n_clusters, _MOST_PARTS)
    n_parts = min(max(n_parts, 2 * n_clusters), len(few))
    sample = Blocks(rows[few], rows.new_ones(1).expand(len(few)))
    books = [fit_kmeans(sample, n_parts, max_iter=20, tol=1e-3, generator=source.generator)[0] for _ in range(n_heads)]

    def count(index, _):
        first, second = (x.flatten(1) for x in source.take(index, _DRAWS))
        cells = (
            nearest_codewords(first, book).repeat(_DRAWS) * n_parts + nearest_codewords(second, book) for book in books
        )
        return torch.stack([cell.bincount(minlength=n_parts**2).view(n_parts, n_parts) for cell in cells])

    joints = accumulate(count, pairs.split(_AT_ONCE)).cpu()
    labels = []
    for joint, book in zip(joints, books, strict=True):
        clusters = merge_clusters(joint, n_clusters, entropy_weight=entropy_weight, generator=source.generator)
        labels.append(torch.from_numpy(clusters).to(rows.device)[nearest_codewords(rows, book)])
    return torch.stack(labels, 1)


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
