"""Pictures of any size, in memory or as files, as batches of equal images; a bad file does not end the stream."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sklinvariant.base import file_names
from sklinvariant.images._pixels import fit_into, list_of_images, read_image, scale_pixels, stack_images


class ImageStream:
    """Equal images (b, h, w, c), batch by batch, of pictures that are fitted into squares of ``image_size`` pixels.

    While one batch is used, the next is read. ``failed`` lists the (row, reason) of files that could not be read,
    where ``on_error="nan"`` passes over them.
    """

    def __init__(self, pictures, image_size, fill, on_error="raise"):
        self.pictures, self.image_size, self.fill, self.on_error = pictures, image_size, fill, on_error
        self.failed = []
        self.rows = np.arange(len(pictures))

    @classmethod
    def of(cls, X, image_size, fill, on_error="raise"):
        """The stream of files, of a list of pictures, or (with an ``image_size``) of an array; None for other X."""
        names = file_names(X)
        if names is not None and image_size is None:
            raise ValueError(
                "files are pictures of any size: give image_size, the side of the square they are fitted into"
            )
        if names is not None:
            return cls(names, image_size, fill, on_error)
        pictures = list_of_images(X)
        if pictures is not None and image_size is None and len({picture.shape for picture in pictures}) > 1:
            shapes = sorted({tuple(picture.shape) for picture in pictures})[:3]
            raise ValueError(f"the images differ in size: {shapes}; give image_size, or resize them")
        return None if pictures is None else cls(pictures, image_size, fill, on_error)

    def __len__(self):
        return len(self.pictures)

    def some(self, most):
        """The stream of at most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        rows = np.linspace(0, len(self) - 1, most).astype(int)
        some = ImageStream([self.pictures[row] for row in rows], self.image_size, self.fill, self.on_error)
        some.rows = rows
        return some

    def batches(self, size):
        """(rows, images) with the rows of X that could be read, and their images as one tensor."""
        with ThreadPoolExecutor(1) as reader:
            starts = range(0, len(self), size)
            waiting = reader.submit(self._load, range(0, min(size, len(self))))
            for start in starts:
                rows, images = waiting.result()
                following = range(start + size, min(start + 2 * size, len(self)))
                waiting = reader.submit(self._load, following)
                if len(rows):
                    yield rows, images if isinstance(images, torch.Tensor) else stack_images(images)

    def _load(self, wanted):
        if isinstance(self.pictures, torch.Tensor) and self.image_size is None:
            return wanted, self.pictures[wanted.start : wanted.stop]
        rows, images = [], []
        for row in wanted:
            try:
                image = self._one(self.pictures[row])
            except ValueError as error:
                if self.on_error == "raise":
                    raise ValueError(f"image {row}: {error}") from error
                self.failed.append((row, str(error)))
                continue
            if images and image.shape != images[0].shape:
                raise ValueError(
                    f"image {row} has {image.shape[2]} channel(s), image {rows[0]} has {images[0].shape[2]}: give all "
                    "in grey or all in colours"
                )
            images.append(image)
            rows.append(row)
        return rows, images

    def _one(self, picture):
        device = picture.device if isinstance(picture, torch.Tensor) else None
        if isinstance(picture, str):
            picture = read_image(picture)
        else:  # what is no uint8 becomes a float that OpenCV knows
            picture = (picture if picture.dtype == torch.uint8 else scale_pixels(picture)).cpu().numpy()
        picture = picture if self.image_size is None else fit_into(picture, self.image_size, self.fill)
        picture = picture if picture.ndim == 3 else picture[..., None]
        return torch.as_tensor(picture, device=device)

    def warn_of_failures(self, name):
        """One warning that lists the files that were passed over."""
        if self.failed:
            listed = "; ".join(f"image {row}: {reason}" for row, reason in self.failed[:10])
            more = f"; and {len(self.failed) - 10} more" if len(self.failed) > 10 else ""
            warnings.warn(
                f"{name}: {len(self.failed)} of {len(self)} images were not read: {listed}{more}", stacklevel=3
            )
