"""The loss of `IICSegmenter`: the mutual information between predictions for neighbouring pixels of two views."""

from __future__ import annotations

import math

import torch
from torch import nn

from sklinvariant._distributed import whole_sum
from sklinvariant.accumulate import accumulate
from sklinvariant.cluster._segmentation._dense_mutual_information import dense_joints
from sklinvariant.cluster._segmentation._segmentation_trunk import SegmentationNetwork
from sklinvariant.ops import joint_information, resample
from sklinvariant.pairs import CropPairs, Pair


class DenseInformation(nn.Module):
    """A module whose ``forward`` returns the negative mutual information between both predictions of a `Pair` (eq. 5).

    It is the mean over the first ``n_heads`` heads, the main heads, plus the value of the auxiliary head if it exists.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        n_heads: int,
        shift: torch.Tensor,
        scale: torch.Tensor,
        half_window: int,
        average: str,
        entropy_weight: float,
    ) -> None:
        super().__init__()
        self.network, self.n_heads, self.half_window = network, n_heads, half_window
        self.average, self.entropy_weight = average, entropy_weight
        self.shift, self.scale = shift, scale

    @property
    def lowest_loss(self) -> float:
        """The loss if both predictions of each pair are equal and certain, and all clusters are of equal size."""
        heads = self.network.sizes
        main, auxiliary = (sum(map(math.log, part)) for part in (heads[: self.n_heads], heads[self.n_heads :]))
        return -(2 * self.entropy_weight - 1) * (main / self.n_heads + auxiliary)

    def forward(self, pair: Pair) -> torch.Tensor:
        joints = (whole_sum(self._joints(*views)) for views in self._predictions(pair))
        information = torch.stack([self._information(joint) for joint in joints])
        return -information[: self.n_heads].mean() - information[self.n_heads :].sum()

    @torch.no_grad()
    def measure(self, batches: CropPairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One pass over the batches: I (n_heads,) in nats, losses (n_heads,), and pixels per cluster (n_heads, k)."""
        self.eval()
        joints, counts = accumulate(self._pair_sums, (pair for pair, _ in batches))
        self.train()
        information = torch.stack([joint_information(joint).mean() for joint in joints])
        return information.clamp_min(0), -torch.stack([self._information(joint) for joint in joints]), counts

    def _pair_sums(self, pair, _):
        """The joints of each head, which add up as their information does not, and the counts (n_heads, k)."""
        there = pair.masks[:, 0] > 0
        heads = self._predictions(pair)[: self.n_heads]
        taken = [torch.bincount(first.argmax(1)[there], minlength=first.shape[1]) for first, _ in heads]
        return tuple(self._joints(*views) for views in heads), torch.stack(taken)

    def _joints(self, first, second):
        return dense_joints(first, second, self.half_window, average=self.average)

    def _information(self, joints):
        return joint_information(joints, self.entropy_weight).mean()

    def _predictions(self, pair):
        """The predictions of each head for both views, aligned by pixel and multiplied by the weights of the pixels."""
        images = (torch.cat([pair.images, pair.views]) - self.shift) / self.scale
        both = [scores.tensor_split(2) for scores in self.network.scores(images)]
        started = self.n_heads if pair.start is not None else 0
        return [_aligned(first, second, pair, i < started) for i, (first, second) in enumerate(both)]


def _aligned(first, second, pair, from_start):
    """Predictions for both views from their scores; with ``from_start``, the scores correct those of the start."""
    # pixels that left the image are filled with 0, so they have no weight in the joint distribution
    if not from_start:
        return first.softmax(1) * pair.masks, resample(second.softmax(1), pair.back) * pair.masks
    there = resample(torch.ones_like(pair.masks), pair.back) * pair.masks
    first, second = ((scores + pair.start).softmax(1) for scores in (first, resample(second, pair.back)))
    return first * pair.masks, second * there
