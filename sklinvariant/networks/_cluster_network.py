"""A trunk with heads that assign clusters, called with a batch of pairs for the loss of invariant clustering."""

import math

import torch
from torch import nn

from sklinvariant.kernels import joint_distribution, mutual_information


class ClusterNetwork(nn.Module):
    """Called with pairs it gives minus the mean over heads of I(P) / ln k, by λ in I (see `mutual_information`).

    A batch has samples ``first`` (b, ...), partners ``second`` (r b, ...), r of each sample with all first ones before
    the second ones, and says whether the ``auxiliary`` heads are to learn. Samples are measured as ``(x - shift) / scale`` before the trunk. Images come with channels last, as they are
    stored, and go on with channels first.
    """

    def __init__(self, trunk, heads, auxiliary=None, *, shift, scale, entropy_weight=1.0):
        super().__init__()
        self.trunk, self.heads, self.auxiliary = trunk, heads, auxiliary
        self.entropy_weight = entropy_weight
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def features(self, x):
        """(n, d) rows or (n, h, w, c) images -> (n, D)."""
        x = (x - self.shift) / self.scale
        return self.trunk(x.permute(0, 3, 1, 2) if x.ndim == 4 else x)

    def losses(self, joints):
        """-I / ln k of each head, by its joint (h, k, k)."""
        return -mutual_information(joints, self.entropy_weight) / math.log(joints.shape[-1])

    def forward(self, batch):
        first, second = batch.first, batch.second
        heads = self.auxiliary if batch.auxiliary else self.heads
        # one pass for both, so that batch normalisation treats them alike
        assigned = heads(self.features(torch.cat([first, second])))
        one, two = assigned.split([len(first), len(second)])
        return self.losses(joint_distribution(one.repeat(len(second) // len(first), 1, 1), two)).mean()
