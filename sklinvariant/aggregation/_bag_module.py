"""Encoders of bags as modules for bags of equal size, which can be compiled and exported."""

from collections.abc import Callable

import torch
from torch import nn

from sklinvariant.networks import EqualBags


class BagModule(nn.Module):
    """An encoder for bags of equal size (n, m, d) or feature maps (n, h, w, d), instead of ragged bags."""

    def __init__(self, encoder: Callable[[EqualBags], torch.Tensor], *, hard: bool = False) -> None:
        super().__init__()
        self.encoder, self.hard = encoder, hard

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(EqualBags(x.flatten(1, -2), self.hard))
