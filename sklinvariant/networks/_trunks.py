"""Trunks of invariant clustering: rows (n, d) or images (n, c, h, w) to features (n, D).

"vgg" and "resnet" are those of Ji, Henriques & Vedaldi 2019 for MNIST and for colour images after Sobel filtering.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant.networks._layers import FLOAT32, conv2d, linear

_ACROSS = [[-0.125, 0.0, 0.125], [-0.25, 0.0, 0.25], [-0.125, 0.0, 0.125]]


def trunk_for(shape, name="auto", generator=None):
    """The trunk of that name for rows (d,) or images (h, w, c): "mlp", "vgg" or "resnet".

    "auto" is "mlp" for rows and images of less than 12 pixels a side, else "vgg" for grey and "resnet" for colour.
    ``generator`` draws the weights; None is torch's own.
    """
    if name == "auto":
        small = len(shape) == 1 or min(shape[:2]) < 12
        name = "mlp" if small else "vgg" if shape[2] == 1 else "resnet"
    if name == "mlp":
        return mlp_trunk(math.prod(shape), generator=generator)
    if len(shape) == 1:
        raise ValueError(f'network="{name}" needs images: give image_shape, or use network="mlp"')
    return vgg_trunk(shape[2], generator=generator) if name == "vgg" else resnet_trunk(generator=generator)


def mlp_trunk(n_features, width=256, depth=2, generator=None):
    """Rows through ``depth`` layers of ``width`` units; images are taken as rows."""
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [
            linear(n_features, width, bias=False, generator=generator),
            nn.BatchNorm1d(width, **FLOAT32),
            nn.ReLU(),
        ]
        n_features = width
    return nn.Sequential(*layers)


def vgg_trunk(n_channels, widths=(64, 128, 256, 512), generator=None):
    """5 × 5 convolutions, each followed by halving as long as there is something to halve."""
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        convolution = conv2d(n_channels, width, 5, padding=2, bias=False, generator=generator)
        layers += [convolution, nn.BatchNorm2d(width, **FLOAT32), nn.ReLU()]
        if i < len(widths) - 1:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        n_channels = width
    return nn.Sequential(*layers, nn.Flatten())


def resnet_trunk(widths=(64, 128, 256, 512), depths=(3, 4, 6, 3), generator=None):
    """Residual blocks on the edges of the grey image; the first convolution keeps small images' size."""
    first = conv2d(2, widths[0], 3, padding=1, bias=False, generator=generator)
    layers = [GreyEdges(), first, nn.BatchNorm2d(widths[0], **FLOAT32), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    before = widths[0]
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for j in range(depth):
            layers.append(ResidualBlock(before, width, stride=2 if i and j == 0 else 1, generator=generator))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions whose result is added to what came in."""

    def __init__(self, n_in, n_out, stride=1, generator=None):
        super().__init__()
        self.inside = nn.Sequential(
            conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False, generator=generator),
            nn.BatchNorm2d(n_out, **FLOAT32),
            nn.ReLU(),
            conv2d(n_out, n_out, 3, padding=1, bias=False, generator=generator),
            nn.BatchNorm2d(n_out, **FLOAT32),
        )
        keeps_shape = n_in == n_out and stride == 1
        if keeps_shape:
            self.beside: nn.Module = nn.Identity()
        else:
            convolution = conv2d(n_in, n_out, 1, stride=stride, bias=False, generator=generator)
            self.beside = nn.Sequential(convolution, nn.BatchNorm2d(n_out, **FLOAT32))

    def forward(self, x):
        return (self.inside(x) + self.beside(x)).relu()


class GreyEdges(nn.Module):
    """Sobel's derivatives of the mean of the channels, across and down: (n, c, h, w) -> (n, 2, h, w)."""

    def forward(self, x):
        across = x.new_tensor(_ACROSS)
        grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(grey, torch.stack([across, across.T])[:, None])
