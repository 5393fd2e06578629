"""Random crops of images of any size, with a transformed view of each and the way back."""

import math

import torch
from torch import nn

from sklinvariant.images import scale_pixels
from sklinvariant.transforms import moves


class CropPairs:
    """Batches of random crops of images with a transformed view of each, in a new order each time.

    An image counts as often as tiles would cover it. What is smaller than the crops is continued by its border, and
    masked there.
    """

    def __init__(self, images, transform, *, tile_size, batch_size, generator):
        self.images, self.transform = images, transform
        self.batch_size, self.generator = batch_size, generator
        sizes = torch.tensor([image.shape[-2:] for image in images])
        self.shape = tuple(sizes.amax(0).clamp_max(tile_size).tolist())
        tiles = (-(-sizes // tile_size)).prod(1)
        self.rows = torch.arange(len(images)).repeat_interleave(tiles)

    def __len__(self):
        return len(self.rows)

    @property
    def n_steps(self):
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self):
        order = self.rows[torch.randperm(len(self), generator=self.generator)]
        for index in order.tensor_split(self.n_steps):
            yield self._pair([self._crop(self.images[row]) for row in index.tolist()]), None

    def _crop(self, image):
        """(c, H, W) and (1, H, W), where the image is."""
        room = [max(size - crop, 0) for size, crop in zip(image.shape[-2:], self.shape, strict=True)]
        top, left = (int(torch.randint(most + 1, (), generator=self.generator)) for most in room)
        crop = scale_pixels(image[:, top : top + self.shape[0], left : left + self.shape[1]])
        rest = [crop_size - size for crop_size, size in zip(self.shape, crop.shape[-2:], strict=True)]
        mask = crop.new_ones(1, *crop.shape[-2:])
        if any(rest):
            border = (0, rest[1], 0, rest[0])
            crop = nn.functional.pad(crop[None], border, mode="replicate")[0]
            mask = nn.functional.pad(mask, border)
        return crop, mask

    def _pair(self, crops):
        images, masks = (torch.stack(part) for part in zip(*crops, strict=True))
        params = self.transform.sample(len(images), self.generator)
        views = self.transform._apply(images, params)
        if views.shape != images.shape:
            raise ValueError(f"transforms must keep the images' shape, {images.shape[1:]} became {views.shape[1:]}")
        return Pair(images, views, masks, torch.linalg.inv(moves(self.transform, params, self.shape)))


class Pair:
    """Images (n, c, h, w), views of them, masks (n, 1, h, w) and the matrices that take views back (n, 3, 3)."""

    def __init__(self, images, views, masks, back):
        self.images, self.views, self.masks, self.back = images, views, masks, back

    def __len__(self):
        return len(self.images)
