"""What a network answers for all samples and pairs, computed for parts of them."""

import math
from collections.abc import Callable

import torch

from sklinvariant.accumulate import accumulate
from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.images import scale_pixels
from sklinvariant.ops import compute_dtype, concatenated, joint_sum, samples_at_once
from sklinvariant.pairs import PartnerPairs, ViewPairs

_WIDER = 2  # how many times as many values as a sample its largest layer is assumed to have
_MEASURED = 20_000  # number of pairs on which heads are compared, unless it needs more draws than
_MOST_DRAWS = 20  # per pair


def at_once(samples: torch.Tensor) -> int:
    """How many samples (n, ...) the network processes at a time: fewer if they are large images."""
    return samples_at_once(_WIDER * samples.shape[1:].numel(), compute_dtype(samples.dtype), samples.device)


@torch.no_grad()
def compute(
    network: ClusterNetwork, samples: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """``function(features)`` of the features (m, D) of parts of the samples, concatenated.

    The features and the probabilities (n, h, k) of all heads together are often larger than the samples.
    """
    network.eval()
    parts = samples.split(at_once(samples))
    return concatenated((function(network.features(scale_pixels(part))) for part in parts), len(samples))


@torch.no_grad()
def measure(
    network: ClusterNetwork, source: ViewPairs | PartnerPairs, pairs: torch.Tensor, n_draws: int
) -> torch.Tensor:
    """The joint (h, k, k) of the main heads, not normalised, over ``n_draws`` draws of the pairs (indices)."""
    network.eval()

    def joint(index, _):
        return joint_sum(*(network.heads(network.features(x)) for x in source.take(index, 1)))

    return accumulate(joint, (index for index in pairs.split(at_once(source.samples)) for _ in range(n_draws)))


def draws_for(pairs: torch.Tensor) -> int:
    """Number of draws of each pair, so that heads with almost equal losses can be compared."""
    return min(_MOST_DRAWS, math.ceil(_MEASURED / len(pairs)))
