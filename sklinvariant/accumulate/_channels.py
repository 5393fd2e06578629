"""Statistics of the channels of images."""

from collections.abc import Iterator

import torch

from sklinvariant.accumulate._blocks import BLOCK_BYTES
from sklinvariant.accumulate._columns import deviations, measure_columns
from sklinvariant.images import scale_pixels

_VALUES = BLOCK_BYTES // 8  # of float64 that are read at a time


class _Pixels:
    """The pixels of images as rows of channels, in float64."""

    def __init__(self, images: torch.Tensor | list[torch.Tensor]) -> None:
        self.images = images

    def __iter__(self) -> Iterator[torch.Tensor]:
        images = self.images
        for part in _parts(images, 0) if isinstance(images, torch.Tensor) else (image[None] for image in images):
            for strip in _parts(part, 2):  # of rows of a large image
                yield scale_pixels(strip).double().movedim(1, -1).flatten(0, 2)


def _parts(images, axis):
    """Parts of images (n, c, h, w) along an axis, of as many values as are read at a time."""
    return images.split(max(1, _VALUES // max(1, images.narrow(axis, 0, 1).numel())), axis)


def channel_spread(images: torch.Tensor | list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (c, 1, 1) of the channels of images (n, c, h, w) or a list of (c, h, w).

    The deviation of a constant channel is given as 1. Pixels of uint8 are scaled to 0-1.
    """
    pixels = _Pixels(images)
    columns = measure_columns(pixels)
    deviation = torch.where(columns.high > columns.low, deviations(pixels, columns), 1.0)
    like = scale_pixels(images[0][:0])
    return columns.mean.to(like)[:, None, None], deviation.to(like)[:, None, None]
