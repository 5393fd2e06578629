"""A small fully convolutional network that predicts cluster probabilities for each pixel."""

from collections.abc import Callable, Iterator, Sequence
from typing import Self

import torch
from torch import nn

from sklinvariant.networks import BatchNorm2d

_DILATIONS = (1, 1, 2, 2)
_POOLED = 2  # radius of the average pooling after every second convolution
Tile = tuple[slice, slice]  # rows and columns


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


def predict_tiles(
    network: SegmentationNetwork,
    images: Sequence[torch.Tensor],
    tile_size: int,
    head: int = 0,
    prepare: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> Iterator[tuple[Tile, torch.Tensor]]:
    """Tiles of n images (c, h, w), and the scores (n, k, ...) of a head in each, which a softmax makes probabilities.

    Tiles overlap by the radius of the network, so that there are no seams. ``prepare`` is applied to their pixels.
    """
    h, w = images[0].shape[-2:]
    r = SegmentationTrunk.radius
    for top in range(0, h, tile_size):
        for left in range(0, w, tile_size):
            rows, columns = slice(top, min(top + tile_size, h)), slice(left, min(left + tile_size, w))
            first_row, first_column = max(top - r, 0), max(left - r, 0)
            around = slice(first_row, rows.stop + r), slice(first_column, columns.stop + r)
            seen = network.scores(prepare(torch.stack([image[:, *around] for image in images])))[head]
            inside = seen[:, :, top - first_row : rows.stop - first_row]
            yield (rows, columns), inside[..., left - first_column : columns.stop - first_column]
