"""Random crops of images of any size, with a transformed view of each and the inverse transformation."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from sklinvariant.images import scale_pixels
from sklinvariant.transforms import Transform, moves


class CropPairs:
    """Batches of random crops of images with a transformed view of each, shuffled in each pass.

    An image is used once for each tile that would be needed to cover it. Images smaller than the crops are padded by
    their border, and the padding is masked.

    Parameters
    ----------
    images : sequence of n tensors of shape (c, h, w)
        The images, which may differ in size.
    transform : Transform
        The transformation of the views.
    tile_size : int
        Largest height and width of a crop in pixels.
    batch_size : int
        Maximum number of crops in a batch.
    generator : torch.Generator
        Source of the order, the crops and the transformations.
    start : sequence of n callables or None, default=None
        A function for each image, called with two slices, the rows and columns of a crop. It returns further maps
        (k, H, W) of the crop, which are not transformed.
    """

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        transform: Transform,
        *,
        tile_size: int,
        batch_size: int,
        generator: torch.Generator,
        start: Sequence[Callable[[slice, slice], torch.Tensor]] | None = None,
    ) -> None:
        self.images, self.transform, self.start = images, transform, start
        self.batch_size, self.generator = batch_size, generator
        sizes = torch.tensor([image.shape[-2:] for image in images])
        self.shape = tuple(sizes.amax(0).clamp_max(tile_size).tolist())
        tiles = (-(-sizes // tile_size)).prod(1)
        self.rows = torch.arange(len(images)).repeat_interleave(tiles)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_steps(self) -> int:
        """Number of batches of a pass."""
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self) -> Iterator[tuple["Pair", None]]:
        order = self.rows[torch.randperm(len(self), generator=self.generator)]
        for index in order.tensor_split(self.n_steps):
            yield self._pair([self._crop(row) for row in index.tolist()]), None

    def _crop(self, row):
        """A random crop (c, H, W), its mask (1, H, W), and its start if there is one, on the device of the image."""
        image = self.images[row]
        room = [max(size - crop, 0) for size, crop in zip(image.shape[-2:], self.shape, strict=True)]
        top, left = (int(torch.randint(most + 1, (), generator=self.generator)) for most in room)
        window = slice(top, top + self.shape[0]), slice(left, left + self.shape[1])
        maps = [scale_pixels(image[:, *window])]
        if self.start is not None:
            maps.append(self.start[row](*window))
        rest = [crop_size - size for crop_size, size in zip(self.shape, maps[0].shape[-2:], strict=True)]
        mask = maps[0].new_ones(1, *maps[0].shape[-2:])
        if any(rest):
            border = (0, rest[1], 0, rest[0])
            maps = [nn.functional.pad(one[None], border, mode="replicate")[0] for one in maps]
            mask = nn.functional.pad(mask, border)
        return maps[0], mask, *maps[1:]

    def _pair(self, crops):
        images, masks, *start = (torch.stack(part) for part in zip(*crops, strict=True))
        params = self.transform.sample(len(images), self.generator)
        views = self.transform._apply(images, params)
        if views.shape != images.shape:
            raise ValueError(
                f"transforms must keep the shape of the images, but {tuple(images.shape[1:])} became "
                f"{tuple(views.shape[1:])}. Remove transforms that change it"
            )
        return Pair(images, views, masks, torch.linalg.inv(moves(self.transform, params, self.shape)), *start)


class Pair:
    """A batch of images and transformed views of them.

    Parameters
    ----------
    images : tensor of shape (n, c, h, w)
        The images.
    views : tensor of shape (n, c, h, w)
        The views.
    masks : tensor of shape (n, 1, h, w)
        1 for the pixels of an image, and 0 for its padding.
    back : tensor of shape (n, 3, 3)
        The inverse matrices of the transformations.
    start : tensor of shape (n, k, h, w) or None, default=None
        Further maps of the images, which are not transformed.
    """

    def __init__(
        self,
        images: torch.Tensor,
        views: torch.Tensor,
        masks: torch.Tensor,
        back: torch.Tensor,
        start: torch.Tensor | None = None,
    ) -> None:
        self.images, self.views, self.masks, self.back, self.start = images, views, masks, back, start

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> "Pair":
        start = None if self.start is None else self.start[rows]
        return Pair(self.images[rows], self.views[rows], self.masks[rows], self.back[rows], start)
