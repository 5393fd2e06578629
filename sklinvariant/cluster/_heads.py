"""Linear heads on shared features, all in one layer."""

import torch
from torch import nn

from sklinvariant.networks import linear


class SubHeads(nn.Module):
    """h linear predictors of k clusters, from (n, d) features to (n, h, k) probabilities.

    They differ only in their initial weights, and are computed as one layer of h·k units. ``generator`` draws the
    weights; None is torch's global generator.
    """

    def __init__(
        self, n_features: int, n_clusters: int, n_heads: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.shape = n_heads, n_clusters
        self.linear = linear(n_features, n_heads * n_clusters, generator=generator)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features).unflatten(-1, self.shape)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.scores(features).softmax(-1)
