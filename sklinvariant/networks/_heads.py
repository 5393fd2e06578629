"""Linear heads on shared features, all in one layer."""

import torch
from torch import nn


class SubHeads(nn.Module):
    """h linear predictors of k clusters, from (n, d) features to (n, h, k) probabilities.

    They differ only in where they start, and are computed as one layer of h·k units.
    """

    def __init__(self, n_features, n_clusters, n_heads):
        super().__init__()
        self.shape = n_heads, n_clusters
        self.linear = nn.Linear(n_features, n_heads * n_clusters)

    def scores(self, features):
        return self.linear(features).unflatten(-1, self.shape)

    def forward(self, features):
        return self.scores(features).softmax(-1)


def seeded(make, generator):
    """What ``make()`` builds, its weights drawn from a seed of ``generator``; the global one is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        return make()
