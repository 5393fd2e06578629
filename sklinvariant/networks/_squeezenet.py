"""SqueezeNet 1.1 without its classifier (Iandola et al. 2016): a small pretrained backbone, 0.7 million weights."""

import torch
from torch import nn


class Fire(nn.Module):
    """Squeeze to few channels, then expand by parallel 1 x 1 and 3 x 3 convolutions."""

    def __init__(self, n_in: int, n_squeeze: int, n_expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(n_in, n_squeeze, 1)
        self.expand1x1 = nn.Conv2d(n_squeeze, n_expand, 1)
        self.expand3x3 = nn.Conv2d(n_squeeze, n_expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze1x1(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


class SqueezeNet11Features(nn.Sequential):
    """Images (n, 3, h, w) -> map (n, 512, h/16, w/16) of fire9; fire3 and fire5 have resolution h/4 and h/8.

    The usual ImageNet weights expect BGR 0-255 minus (104, 117, 123).
    """

    def __init__(self) -> None:
        super().__init__()
        self.add_module("conv1", nn.Conv2d(3, 64, 3, stride=2))
        self.add_module("relu1", nn.ReLU())
        self.add_module("pool1", nn.MaxPool2d(3, stride=2))
        n_in = 64
        for i, squeeze, expand in (
            *((2, 16, 64), (3, 16, 64), (4, 32, 128), (5, 32, 128)),
            *((6, 48, 192), (7, 48, 192), (8, 64, 256), (9, 64, 256)),
        ):
            self.add_module(f"fire{i}", Fire(n_in, squeeze, expand))
            if i in (3, 5):
                self.add_module(f"pool{i}", nn.MaxPool2d(3, stride=2))
            n_in = 2 * expand
