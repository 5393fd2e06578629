"""Nested invariance pooling as a torch module, for images of one size."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sklinvariant.images import channels_first, scale_pixels
from sklinvariant.ops import Resampler, unit_length


def finished(pooled: torch.Tensor, weights: torch.Tensor | None, *, normalize: bool) -> torch.Tensor:
    """Pooled features (n, d), multiplied by their weights (d,) if there are any, and normalised on request."""
    pooled = pooled if weights is None else pooled * weights
    return unit_length(pooled) if normalize else pooled


class NestedPooling(nn.Module):
    """Pooled features of images (n, h, w, c) of the size for which the views were computed.

    ``pool`` computes them from a function that returns the feature maps of the next view.

    Raises a ValueError for images of another size, also when the module is exported for one.
    """

    weights: torch.Tensor | None

    def __init__(
        self, maps: nn.Module, views: Resampler, pool: Any, weights: torch.Tensor | None, *, normalize: bool
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.maps, self.views, self.pool, self.normalize = maps, views, pool, normalize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x, size = scale_pixels(channels_first(images)), self.views.shape
        if (x.shape[2], x.shape[3]) != size:
            raise ValueError(
                f"the images are {x.shape[2]} x {x.shape[3]} pixels, but this module computes views of {size[0]} x "
                f"{size[1]} pixels. Resize the images as the estimator does: without distortion, and filled"
            )
        seen = (self.maps(self.views(x, i).permute(0, 2, 3, 1)) for i in range(len(self.views.moves)))
        pooled = self.pool(lambda: next(seen)).flatten(1)
        return finished(pooled, self.weights, normalize=self.normalize)


class OrbitPooling(nn.Module):
    """Pooled features of activations (n, m_1, …, m_g, d)."""

    weights: torch.Tensor | None

    def __init__(self, pool: Any, weights: torch.Tensor | None, *, normalize: bool) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.pool, self.normalize = pool, normalize

    def forward(self, orbits: torch.Tensor) -> torch.Tensor:
        return finished(self.pool(orbits=orbits), self.weights, normalize=self.normalize)
