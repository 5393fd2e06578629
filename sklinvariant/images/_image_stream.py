"""Batches of images of equal size from images of any size, in memory or as files; bad files can be skipped."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from sklinvariant._warnings import warn
from sklinvariant.base import computing_device
from sklinvariant.images._image_files import ImageFiles
from sklinvariant.images._image_reader import ImageInput, ImageReader
from sklinvariant.images._pixels import Fill, fit_into, read_image, scale_pixels, stack_images


class ImageStream:
    """Batches (b, h, w, c) of images that are fitted into squares of ``image_size`` pixels.

    A thread reads the next batch while the current one is used. ``failed`` lists (row, reason) of the files that could
    not be read and that ``on_error="nan"`` skips. ``look`` is called with each image (h, w[, c]) at its full size, and
    ``seen`` maps the rows to what it returned.
    """

    def __init__(
        self,
        images: Sequence[str | bytes | torch.Tensor] | torch.Tensor,
        image_size: int | None,
        fill: Fill,
        on_error: str = "raise",
        look: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        self.images, self.image_size, self.fill, self.on_error = images, image_size, fill, on_error
        self.look = look
        self.failed: list[tuple[int, str]] = []
        self.seen: dict[int, Any] = {}
        self.rows = np.arange(len(images))

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
                image = self._one(self.images[row], row)
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

    def _one(self, image, row):
        device = image.device if isinstance(image, torch.Tensor) else None
        if isinstance(image, (str, bytes)):
            image = read_image(image)
        else:  # OpenCV supports uint8 and float
            image = (image if image.dtype == torch.uint8 else scale_pixels(image)).cpu().numpy()
        if self.look is not None:
            self.seen[row] = self.look(image)
        image = image if self.image_size is None else fit_into(image, self.image_size, self.fill)
        image = image if image.ndim == 3 else image[..., None]
        return torch.as_tensor(image, device=device)

    def warn_of_failures(self, name: str) -> None:
        """Warn once, with a list of the skipped files."""
        if self.failed:
            listed = "; ".join(f"image {row}: {reason}" for row, reason in self.failed[:10])
            more = f"; and {len(self.failed) - 10} more" if len(self.failed) > 10 else ""
            warn(f"{name}: {len(self.failed)} of {len(self)} images were not read: {listed}{more}")


class StreamReader(ImageReader):
    """Reads images of any kind as an `ImageStream`, for estimators with ``image_size``, ``fill`` and ``on_error``.

    File names and images of different sizes require an ``image_size``. A stream is returned unchanged, and its creator
    handles failures.
    """

    def __init__(self) -> None:
        super().__init__(in_files=True)

    def _check(self, estimator, X, kind, reset):
        settings = estimator.image_size, estimator.fill, estimator.on_error
        names = X.sources if isinstance(X, ImageFiles) else None
        if names is None and not isinstance(X, ImageStream):
            given = super()._check(estimator, X, kind, reset)
            given.data = ImageStream(given.data, *settings)
            return given
        if estimator.image_size is None:
            raise ValueError(
                "X holds file names, but image_size is None. Set image_size, the side in pixels of the square that "
                "images are fitted into"
            )
        like = torch.zeros(1, estimator.image_size, estimator.image_size, 3, dtype=torch.uint8)  # files are RGB
        self._check_array(estimator, like, reset)
        self._check_channels(estimator, like, reset)
        stream = X if names is None else ImageStream(names, *settings)
        return ImageInput(stream, kind, computing_device(estimator, kind), torch.float32)

    def _takes_any_size(self, estimator):
        return estimator.image_size is not None

    def _check_list(self, estimator, images, reset):
        shapes = {tuple(image.shape) for image in images}
        if estimator.image_size is None and len(shapes) > 1:
            raise ValueError(f"the images differ in size: {sorted(shapes)[:3]}. Set image_size, or resize them")
        if estimator.image_size is None:
            self._check_array(estimator, images[0][None], reset)
        return self._check_any_sizes(estimator, images, reset)

    def _refuse_other_sizes(self, estimator, shape, *, of_rows=False):
        if estimator.image_size is None:
            super()._refuse_other_sizes(estimator, shape, of_rows=of_rows)
