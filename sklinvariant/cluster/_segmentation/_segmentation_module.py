"""The probabilities of the clusters of pixels as a torch module, which computes whole images at once."""

from __future__ import annotations

import torch
from torch import nn

from sklinvariant.cluster._segmentation._pixel_mixture import PixelMixture
from sklinvariant.cluster._segmentation._segmentation_trunk import SegmentationNetwork
from sklinvariant.images import channels_first, scale_pixels


class SegmentationAnswers(nn.Module):
    """Probabilities (n, h, w, k) of images (n, h, w, c), or with ``labels`` the most probable cluster (n, h, w)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        network: SegmentationNetwork,
        head: int,
        shift: torch.Tensor,
        scale: torch.Tensor,
        mixture: PixelMixture | None,
        *,
        labels: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.head, self.labels = network, head, labels
        self.mixture = None if mixture is None else MixtureScores(mixture)
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = scale_pixels(channels_first(images))
        scores = self.network.scores((x - self.shift) / self.scale)[self.head]
        if self.mixture is not None:
            scores = scores + self.mixture(x)
        return scores.argmax(1) if self.labels else scores.softmax(1).permute(0, 2, 3, 1)


class MixtureScores(nn.Module):
    """The logarithms (n, k, h, w) that a `PixelMixture` gives for images (n, c, h, w)."""

    form: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mixture: PixelMixture) -> None:
        super().__init__()
        for name in ("form", "shift", "scale"):
            self.register_buffer(name, getattr(mixture, name))
        self.low, self.high, self.layout = mixture.low, mixture.high, mixture.layout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mixture = PixelMixture(self.form, self.shift, self.scale, self.low, self.high, self.layout)
        return mixture.of_images(images)
