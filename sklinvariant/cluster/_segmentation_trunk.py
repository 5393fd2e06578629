"""A small fully convolutional network that predicts cluster probabilities for each pixel."""

from typing import Self

import torch
from torch import nn

from sklinvariant.networks import BatchNorm2d

_DILATIONS = (1, 1, 2, 2)
_POOLED = 2  # radius of the average pooling after every second convolution


class SegmentationTrunk(nn.Sequential):
    """Four 3 × 3 convolutions with batch normalisation, ReLU and average pooling: (n, c, h, w) -> (n, width, h, w).

    Averages of rectified features represent a texture independently of the positions of its stripes. The resolution is
    kept, and the prediction for a pixel depends only on the pixels within the distance ``radius``. Images may
    therefore have any size, and tiles that overlap by the radius give the same result as the whole image. The features
    are normalised at the end, so that initial predictions differ between pixels. Without it, features are nearly
    constant after averaging, and training first makes all clusters equally probable everywhere, which is hard to leave.
    """

    radius = sum(_DILATIONS) + len(_DILATIONS) // 2 * _POOLED

    def __init__(self, n_channels: int, width: int) -> None:
        layers: list[nn.Module] = []
        for i, dilation in enumerate(_DILATIONS):
            layers += [
                nn.Conv2d(n_channels, width, 3, padding=dilation, dilation=dilation, bias=False, dtype=torch.float32),
                BatchNorm2d(width, dtype=torch.float32),
                nn.ReLU(),
            ]
            if i % 2:
                layers.append(nn.AvgPool2d(2 * _POOLED + 1, 1, _POOLED, count_include_pad=False))
            n_channels = width
        layers.append(BatchNorm2d(width, affine=False, dtype=torch.float32))
        super().__init__(*layers)


class SegmentationNetwork(nn.Module):
    """A trunk, and a 1 × 1 convolution for all heads: (n, c, h, w) -> probabilities (n, k, h, w) of each head."""

    def __init__(self, n_channels: int, width: int, heads: list[int]) -> None:
        super().__init__()
        self.trunk = SegmentationTrunk(n_channels, width)
        self.sizes = heads
        self.heads = nn.Conv2d(width, sum(heads), 1, dtype=torch.float32)

    @classmethod
    def start(cls, n_channels: int, width: int, heads: list[int], generator: torch.Generator) -> Self:
        """Create a network with random weights of variance 2 / fan-in, drawn from the generator, and zero biases."""
        with torch.device("meta"):  # draws no random numbers, so the global generator does not change
            network = cls(n_channels, width, heads)
        network.to_empty(device="cpu")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d):
                drawn = torch.randn(module.weight.shape, generator=generator, dtype=torch.float64, device="cpu")
                module.weight.data.copy_(drawn * (2 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    module.bias.data.zero_()
        return network

    def scores(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The inputs (n, k, h, w) of the softmax of each head."""
        return list(self.heads(self.trunk(images)).split(self.sizes, 1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [scores.softmax(1) for scores in self.scores(images)]
