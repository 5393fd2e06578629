"""A trunk with heads that assign clusters, called with a batch of pairs for the loss of invariant clustering."""

import contextlib
import copy
import math

import torch
from torch import nn

from sklinvariant._settings import borrowed_generators, draw_seed, making_modules
from sklinvariant.cluster._heads import SubHeads
from sklinvariant.networks import FLOAT32, trunk_for
from sklinvariant.ops import joint_information, joint_sum


def max_entropy(k):
    """ln k, what k clusters can tell at most; of a single cluster, which tells nothing, that of two."""
    return math.log(max(k, 2))


class ClusterNetwork(nn.Module):
    """Called with pairs it gives minus the mean over heads of I(P) / ln k, by λ in I (see `joint_information`).

    A batch has samples ``first`` (b, ...), partners ``second`` (r b, ...), r of each sample with all first ones before
    the second ones, and says whether the ``auxiliary`` heads are to learn. Samples are measured as ``(x - shift) /
    scale`` before the trunk. Images come with channels last, as they are stored; the trunk is shown them with channels
    first, laid out in memory as they were.

    A trunk of the user's draws from torch's global generators, which are then seeded by ``generator``; it is None for
    trunks that draw nothing.
    """

    generator: torch.Generator | None = None

    def __init__(self, trunk, heads, auxiliary=None, *, shift, scale, entropy_weight=1.0):
        super().__init__()
        self.trunk, self.heads, self.auxiliary = trunk, heads, auxiliary
        self.entropy_weight = entropy_weight
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    @classmethod
    def build(cls, trunk, shape, n_heads, n_clusters, n_overclusters, *, generator, **settings):
        """One with random weights for samples (d,) or (h, w, c), on a copy of a module or a trunk that is named.

        ``n_overclusters`` None leaves the auxiliary heads out.
        """

        seed = draw_seed(generator)
        own = torch.Generator().manual_seed(seed)
        foreign = isinstance(trunk, nn.Module)
        module = copy.deepcopy(trunk) if foreign else trunk_for(shape, trunk, own)
        module = nn.Sequential(module, nn.Flatten()).to(torch.float32)
        inside = shape if len(shape) == 1 else (shape[2], *shape[:2])
        with torch.no_grad(), making_modules(seed) if foreign else contextlib.nullcontext():  # lazy layers are made now
            d = module.eval()(torch.zeros(1, *inside, **FLOAT32)).shape[1]
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        auxiliary = None if n_overclusters is None else SubHeads(d, n_overclusters, n_heads, own)
        network = cls(module, SubHeads(d, n_clusters, n_heads, own), auxiliary, **settings)
        network.generator = generator if foreign else None
        return network.train()

    def features(self, x):
        """(n, d) rows or (n, h, w, c) images -> (n, D)."""
        x = (x - self.shift) / self.scale
        x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
        if self.generator is None:
            return self.trunk(x)
        with borrowed_generators(draw_seed(self.generator if self.training else None), x.device):
            return self.trunk(x)

    def draw_from(self, generator):
        """Seed what a trunk of the user's draws in training from this generator from now on."""
        self.generator = None if self.generator is None else generator

    def losses(self, joints):
        """-I / ln k of each head, by its joint (h, k, k)."""
        return -joint_information(joints, self.entropy_weight) / max_entropy(joints.shape[-1])

    def forward(self, batch):
        first, second = batch.first, batch.second
        heads = self.auxiliary if batch.auxiliary else self.heads
        # one pass for both, so that batch normalisation treats them alike
        assigned = heads(self.features(torch.cat([first, second])))
        one, two = assigned.split([len(first), len(second)])
        return self.losses(joint_sum(one.repeat(len(second) // len(first), 1, 1), two)).mean()
