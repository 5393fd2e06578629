"""Batches of images of equal size from images of any size, in memory or as files; bad files can be skipped."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch

from sklinvariant.base import ArrayLike, file_names
from sklinvariant.images._pixels import Fill, fit_into, list_of_images, read_image, scale_pixels, stack_images


class ImageStream:
    """Batches (b, h, w, c) of images that are fitted into squares of ``image_size`` pixels.

    A thread reads the next batch while the current one is used. ``failed`` lists (row, reason) of the files that could
    not be read and that ``on_error="nan"`` skips.
    """

    def __init__(
        self,
        images: Sequence[str | torch.Tensor] | torch.Tensor,
        image_size: int | None,
        fill: Fill,
        on_error: str = "raise",
    ) -> None:
        self.images, self.image_size, self.fill, self.on_error = images, image_size, fill, on_error
        self.failed: list[tuple[int, str]] = []
        self.rows = np.arange(len(images))

    @classmethod
    def of(cls, X: ArrayLike, image_size: int | None, fill: Fill, on_error: str = "raise") -> Self | None:
        """The stream of file names or of a list of images; None for other X."""
        names = file_names(X)
        if names is not None and image_size is None:
            raise ValueError(
                "X holds file names, but image_size is None. Set image_size, the side in pixels of the square that "
                "images are fitted into"
            )
        if names is not None:
            return cls(names, image_size, fill, on_error)
        images = list_of_images(X)
        if images is not None and image_size is None and len({image.shape for image in images}) > 1:
            shapes = sorted({tuple(image.shape) for image in images})[:3]
            raise ValueError(f"the images differ in size: {shapes}. Set image_size, or resize them")
        return None if images is None else cls(images, image_size, fill, on_error)

    def __len__(self) -> int:
        return len(self.images)

    def some(self, most: int) -> "ImageStream":
        """A stream of at most ``most`` evenly spaced images."""
        if len(self) <= most:
            return self
        rows = np.linspace(0, len(self) - 1, most).astype(int)
        some = ImageStream([self.images[row] for row in rows], self.image_size, self.fill, self.on_error)
        some.rows = rows
        return some

    def batches(self, size: int) -> Iterator[tuple[Sequence[int], torch.Tensor]]:
        """Yield (rows, images): the rows of X that could be read, and their images as one tensor."""
        with ThreadPoolExecutor(1) as reader:
            starts = range(0, len(self), size)
            waiting = reader.submit(self._load, range(0, min(size, len(self))))
            for start in starts:
                rows, images = waiting.result()
                following = range(start + size, min(start + 2 * size, len(self)))
                waiting = reader.submit(self._load, following)
                if len(rows):
                    yield rows, images if isinstance(images, torch.Tensor) else stack_images(images)

    def _load(self, wanted: range) -> tuple[Sequence[int], Any]:
        if isinstance(self.images, torch.Tensor) and self.image_size is None:
            return wanted, self.images[wanted.start : wanted.stop]
        rows: list[int] = []
        images: list[torch.Tensor] = []
        for row in wanted:
            try:
                image = self._one(self.images[row])
            except ValueError as error:
                if self.on_error == "raise":
                    raise ValueError(f"image {row}: {error}") from error
                self.failed.append((row, str(error)))
                continue
            if images and image.shape != images[0].shape:
                raise ValueError(
                    f"image {row} has {image.shape[2]} channel(s), but image {rows[0]} has {images[0].shape[2]}. "
                    "Convert all images to grey or all to colour"
                )
            images.append(image)
            rows.append(row)
        return rows, images

    def _one(self, image):
        device = image.device if isinstance(image, torch.Tensor) else None
        if isinstance(image, str):
            image = read_image(image)
        else:  # OpenCV supports uint8 and float
            image = (image if image.dtype == torch.uint8 else scale_pixels(image)).cpu().numpy()
        image = image if self.image_size is None else fit_into(image, self.image_size, self.fill)
        image = image if image.ndim == 3 else image[..., None]
        return torch.as_tensor(image, device=device)

    def warn_of_failures(self, name: str) -> None:
        """Warn once, with a list of the skipped files."""
        if self.failed:
            listed = "; ".join(f"image {row}: {reason}" for row, reason in self.failed[:10])
            more = f"; and {len(self.failed) - 10} more" if len(self.failed) > 10 else ""
            warnings.warn(
                f"{name}: {len(self.failed)} of {len(self)} images were not read: {listed}{more}", stacklevel=3
            )
