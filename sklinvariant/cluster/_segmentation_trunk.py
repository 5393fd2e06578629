"""A small fully convolutional network that says for every pixel which cluster it belongs to."""

import torch
from torch import nn

_DILATIONS = (1, 1, 2, 2)
_POOLED = 2  # pixels around each that features are averaged over, after every second convolution


class SegmentationTrunk(nn.Sequential):
    """Four 3 × 3 convolutions, each normalised and rectified, and averages: (n, c, h, w) -> (n, width, h, w).

    Averages after rectifying tell a texture from where its stripes lie. Every pixel is kept, and what is said of one
    depends on the ``radius`` pixels around it alone: images may be of any size, and tiles that overlap by the radius
    give what the whole image gives. The features are normalised once more at the end: heads then start with clusters
    that differ between pixels. From the nearly constant features that averages leave, the first thing that they learn
    is to make all clusters equally probable everywhere, which they seldom get out of.
    """

    radius = sum(_DILATIONS) + len(_DILATIONS) // 2 * _POOLED

    def __init__(self, n_channels, width):
        layers: list[nn.Module] = []
        for i, dilation in enumerate(_DILATIONS):
            layers += [
                nn.Conv2d(n_channels, width, 3, padding=dilation, dilation=dilation, bias=False, dtype=torch.float32),
                nn.BatchNorm2d(width, dtype=torch.float32),
                nn.ReLU(),
            ]
            if i % 2:
                layers.append(nn.AvgPool2d(2 * _POOLED + 1, 1, _POOLED, count_include_pad=False))
            n_channels = width
        layers.append(nn.BatchNorm2d(width, affine=False, dtype=torch.float32))
        super().__init__(*layers)


class SegmentationNetwork(nn.Module):
    """A trunk and a 1 × 1 convolution for all heads: (n, c, h, w) -> for each head (n, k, h, w) probabilities."""

    def __init__(self, n_channels, width, heads):
        super().__init__()
        self.trunk = SegmentationTrunk(n_channels, width)
        self.sizes = heads
        self.heads = nn.Conv2d(width, sum(heads), 1, dtype=torch.float32)

    @classmethod
    def start(cls, n_channels, width, heads, generator):
        """Random weights of variance 2 / fan-in, drawn by the generator alone, and no bias."""
        with torch.device("meta"):  # where nothing is drawn: the global generator is not ours to move
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

    def forward(self, images):
        return [logits.softmax(1) for logits in self.heads(self.trunk(images)).split(self.sizes, 1)]
