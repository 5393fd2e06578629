"""The module that `IICClusterer` trains: a trunk with heads that predict cluster probabilities."""

import contextlib
import copy
import math
from typing import Any, Self

import torch
from torch import nn

from sklinvariant._distributed import own_number, whole_sum
from sklinvariant._settings import borrowed_generators, draw_seed, making_modules
from sklinvariant.cluster._heads import SubHeads
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.images import scale_pixels
from sklinvariant.networks import FLOAT32, normalize_by_whole_batch, trunk_for
from sklinvariant.ops import joint_information, joint_sum
from sklinvariant.pairs import ClusterBatch


def max_entropy(k: int) -> float:
    """ln k, the largest mutual information of k clusters; ln 2 for a single cluster, so that ratios are defined."""
    return math.log(max(k, 2))


class ClusterNetwork(nn.Module):
    """A network whose ``forward`` returns -I(P) / ln k of a batch of pairs, averaged over the heads.

    I is `joint_information` with the weight ``entropy_weight``. A batch has samples ``first`` (b, ...) and partners
    ``second`` (r b, ...), r for each sample, where the first partners of all samples precede the second ones.
    ``auxiliary`` selects the auxiliary heads. Samples are scaled by a `Scaling` before the trunk.
    Images have channels last, as they are stored. The trunk gets a view with channels first, so that their memory
    layout stays channels-last.

    A user-defined trunk draws from torch's global generators, which are seeded by ``generator``. It is None for the
    other trunks.
    """

    shift: torch.Tensor
    scale: torch.Tensor
    generator: torch.Generator | None = None

    def __init__(
        self,
        trunk: nn.Module,
        heads: Any,
        auxiliary: SubHeads | None = None,
        *,
        scaling: Scaling,
        entropy_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.trunk, self.heads, self.auxiliary = trunk, heads, auxiliary
        self.entropy_weight, self.roots = entropy_weight, scaling.roots
        self.register_buffer("shift", scaling.shift)
        self.register_buffer("scale", scaling.scale)

    @classmethod
    def build(
        cls,
        trunk: str | nn.Module,
        shape: tuple[int, ...],
        n_heads: int,
        n_clusters: int,
        n_overclusters: int | None,
        *,
        generator: torch.Generator,
        **settings: Any,
    ) -> Self:
        """Create a network with random weights for samples (d,) or (h, w, c); the trunk is a name, or a module to copy.

        With ``n_overclusters=None`` there are no auxiliary heads.
        """

        seed = draw_seed(generator)
        own = torch.Generator().manual_seed(seed)
        foreign = isinstance(trunk, nn.Module)
        if isinstance(trunk, nn.Module):
            module = normalize_by_whole_batch(copy.deepcopy(trunk))
        else:
            module = trunk_for(shape, trunk, own)
        module = nn.Sequential(module, nn.Flatten()).to(torch.float32)
        inside = shape if len(shape) == 1 else (shape[2], *shape[:2])
        with torch.no_grad(), making_modules(seed) if foreign else contextlib.nullcontext():  # initialises lazy layers
            d = module.eval()(torch.zeros(1, *inside, **FLOAT32)).shape[1]
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        auxiliary = None if n_overclusters is None else SubHeads(d, n_overclusters, n_heads, own)
        network = cls(module, SubHeads(d, n_clusters, n_heads, own), auxiliary, **settings)
        network.generator = generator if foreign else None
        return network.train()

    @property
    def lowest_loss(self) -> float:
        """The loss if both samples of each pair surely have the same cluster, and all clusters are of equal size."""
        return 1 - 2 * self.entropy_weight

    @property
    def scaling(self) -> Scaling:
        return Scaling(self.shift, self.scale, self.roots)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) rows or (n, h, w, c) images -> (n, D)."""
        x = self.scaling(x)
        x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
        if self.generator is None:
            return self.trunk(x)
        with borrowed_generators(draw_seed(self.generator if self.training else None) + own_number(), x.device):
            return self.trunk(x)

    def draw_from(self, generator: torch.Generator) -> None:
        """From now on, seed the random numbers that a user-defined trunk draws in training from this generator."""
        self.generator = None if self.generator is None else generator

    def losses(self, joints: torch.Tensor) -> torch.Tensor:
        """-I / ln k of each head, from the joint distributions (h, k, k)."""
        return -joint_information(joints, self.entropy_weight) / max_entropy(joints.shape[-1])

    def forward(self, batch: ClusterBatch) -> torch.Tensor:
        first, second = batch.first, batch.second
        heads: Any = self.auxiliary if batch.auxiliary else self.heads
        # one pass for both, so that batch normalisation uses the same statistics
        assigned = heads(self.features(torch.cat([first, second])))
        one, two = assigned.split([len(first), len(second)])
        joint = joint_sum(one.repeat(len(second) // len(first), 1, 1), two)
        return self.losses(whole_sum(joint)).mean()


class ClusterAnswers(nn.Module):
    """The probabilities (n, k) of one head for rows or images, or without ``head`` the features of the trunk."""

    def __init__(self, network: ClusterNetwork, head: int | None = None) -> None:
        super().__init__()
        network.auxiliary = network.generator = None
        network.heads = network.heads if head is not None else None
        self.network, self.head = network, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.network.features(scale_pixels(x[..., None] if x.ndim == 3 else x))
        return features if self.head is None else self.network.heads(features)[:, self.head]
