"""A fitted backbone as a torch module from images to its features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from sklinvariant.feature_extraction._backbones._make_backbone import Backbone
from sklinvariant.images import channels_first, scale_pixels


class BackboneModule(nn.Module):
    """``result(backbone, x)`` of images (n, h, w, c), which are resized to ``size`` and normalised to x (n, c, h, w).

    With ``flat``, the cells of the feature map become a bag (n, m, d).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: Backbone,
        result: Callable[[Backbone, torch.Tensor], torch.Tensor],
        *,
        mean: Any,
        std: Any,
        bgr: bool,
        size: tuple[int, int] | None,
        flat: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.backbone, self.result = backbone.network, backbone, result
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(np.ravel(np.asarray(value)), dtype=torch.float32)[:, None, None])
        self.bgr, self.size, self.flat = bgr, size, flat

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = scale_pixels(channels_first(images))
        if x.shape[1] == 1 and self.backbone.n_channels == 3:
            x = x.expand(-1, 3, -1, -1)
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            x = nn.functional.interpolate(x, self.size, mode="bilinear", antialias=True)
        features = self.result(self.backbone, ((x.flip(1) if self.bgr else x) - self.mean) / self.std)
        return features.flatten(1, 2) if self.flat else features
