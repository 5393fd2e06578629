"""Trunks of invariant clustering: rows (n, d) or images (n, c, h, w) -> features (n, D).

"vgg" and "resnet" are the networks of Ji, Henriques & Vedaldi 2019 for MNIST and for Sobel-filtered colour images.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant._docstrings import documented_by
from sklinvariant.networks._batch_norm import BatchNorm1d, BatchNorm2d
from sklinvariant.networks._layers import FLOAT32, conv2d, linear

_ACROSS = [[-0.125, 0.0, 0.125], [-0.25, 0.0, 0.25], [-0.125, 0.0, 0.125]]


@documented_by(linear)
def trunk_for(shape: Sequence[int], name: str = "auto", generator: torch.Generator | None = None) -> nn.Sequential:
    """The trunk for rows or images.

    Parameters
    ----------
    shape : (d,) or (h, w, c)
        Shape of a row or an image.
    name : {"auto", "mlp", "vgg", "resnet"}, default="auto"
        "mlp" is a perceptron, as from `mlp_trunk`, "vgg" and "resnet" are convolutional networks, as from `vgg_trunk`
        and `resnet_trunk`. "auto" selects "mlp" for rows and for images smaller than 12 pixels, otherwise "vgg" for
        grey images and "resnet" for colour images.

    Returns
    -------
    torch.nn.Sequential that maps rows (n, d) or images (n, c, h, w) to features (n, D)

    Raises
    ------
    ValueError
        If "vgg" or "resnet" is asked for rows.
    """
    if name == "auto":
        small = len(shape) == 1 or min(shape[:2]) < 12
        name = "mlp" if small else "vgg" if shape[2] == 1 else "resnet"
    if name == "mlp":
        return mlp_trunk(math.prod(shape), generator=generator)
    if len(shape) == 1:
        raise ValueError(f'network="{name}" requires images, but X has rows. Set image_shape, or use network="mlp"')
    return vgg_trunk(shape[2], generator=generator) if name == "vgg" else resnet_trunk(generator=generator)


@documented_by(linear)
def mlp_trunk(
    n_features: int, width: int = 256, depth: int = 2, generator: torch.Generator | None = None
) -> nn.Sequential:
    """A perceptron for rows. Images are flattened.

    Parameters
    ----------
    n_features : int
        Number of features of a row, or of values of an image.
    width : int, default=256
        Number of units of a layer.
    depth : int, default=2
        Number of layers.

    Returns
    -------
    torch.nn.Sequential that maps rows (n, n_features), or images of as many values, to features (n, width)
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [
            linear(n_features, width, bias=False, generator=generator),
            BatchNorm1d(width, **FLOAT32),
            nn.ReLU(),
        ]
        n_features = width
    return nn.Sequential(*layers)


@documented_by(linear)
def vgg_trunk(
    n_channels: int, widths: Sequence[int] = (64, 128, 256, 512), generator: torch.Generator | None = None
) -> nn.Sequential:
    """5 × 5 convolutions, each but the last followed by pooling that halves the size.

    Parameters
    ----------
    n_channels : int
        Number of channels of the images (n, n_channels, h, w).
    widths : sequence of int, default=(64, 128, 256, 512)
        Number of channels of each convolution.

    Returns
    -------
    torch.nn.Sequential that maps images to the flattened maps of the last convolution
    """
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        convolution = conv2d(n_channels, width, 5, padding=2, bias=False, generator=generator)
        layers += [convolution, BatchNorm2d(width, **FLOAT32), nn.ReLU()]
        if i < len(widths) - 1:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        n_channels = width
    return nn.Sequential(*layers, nn.Flatten())


@documented_by(linear)
def resnet_trunk(
    widths: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (3, 4, 6, 3),
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Residual blocks on the edges of the grey image; the first convolution keeps the size of the image.

    Parameters
    ----------
    widths : sequence of int, default=(64, 128, 256, 512)
        Number of channels at each size of the maps, which halves from one to the next.
    depths : sequence of int, default=(3, 4, 6, 3)
        Number of residual blocks at each size.

    Returns
    -------
    torch.nn.Sequential that maps images (n, c, h, w) to features (n, widths[-1])
    """
    first = conv2d(2, widths[0], 3, padding=1, bias=False, generator=generator)
    layers = [GreyEdges(), first, BatchNorm2d(widths[0], **FLOAT32), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    before = widths[0]
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for j in range(depth):
            layers.append(ResidualBlock(before, width, stride=2 if i and j == 0 else 1, generator=generator))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions whose result is added to their input."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False, generator=generator),
            BatchNorm2d(n_out, **FLOAT32),
            nn.ReLU(),
            conv2d(n_out, n_out, 3, padding=1, bias=False, generator=generator),
            BatchNorm2d(n_out, **FLOAT32),
        )
        keeps_shape = n_in == n_out and stride == 1
        if keeps_shape:
            self.beside: nn.Module = nn.Identity()
        else:
            convolution = conv2d(n_in, n_out, 1, stride=stride, bias=False, generator=generator)
            self.beside = nn.Sequential(convolution, BatchNorm2d(n_out, **FLOAT32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.inside(x) + self.beside(x)).relu()


class GreyEdges(nn.Module):
    """Horizontal and vertical Sobel derivatives of the mean of the channels: (n, c, h, w) -> (n, 2, h, w)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        across = x.new_tensor(_ACROSS)
        grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(grey, torch.stack([across, across.T])[:, None])
