"""Nested invariance pooling as a torch module, for images of one size."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sklinvariant.images import channels_first, scale_pixels
from sklinvariant.ops import Resampler, unit_length


class NestedPooling(nn.Module):
    """Pooled features of images (n, h, w, c) of the size for which the views were computed.

    ``pool`` computes them from a function that returns the feature maps of the next view.
    """

    def __init__(self, maps: nn.Module, views: Resampler, pool: Any, *, normalize: bool) -> None:
        super().__init__()
        self.maps, self.views, self.pool, self.normalize = maps, views, pool, normalize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = scale_pixels(channels_first(images))
        seen = (self.maps(self.views(x, i).permute(0, 2, 3, 1)) for i in range(len(self.views.moves)))
        pooled = self.pool(lambda: next(seen)).flatten(1)
        return unit_length(pooled) if self.normalize else pooled


class OrbitPooling(nn.Module):
    """Pooled features of activations (n, m_1, …, m_g, d)."""

    def __init__(self, pool: Any, *, normalize: bool) -> None:
        super().__init__()
        self.pool, self.normalize = pool, normalize

    def forward(self, orbits: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(orbits=orbits)
        return unit_length(pooled) if self.normalize else pooled
