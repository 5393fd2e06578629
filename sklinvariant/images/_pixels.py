"""Reading and checking of images: arrays, tensors, lists or files, of integers 0-255 or floats 0-1."""

import importlib
import os
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch

from sklinvariant.base import ArrayLike, as_tensor, dense_tensor, is_bags, refuse_non_numbers, to_numpy
from sklinvariant.images._image_size import image_size

Fill = str | float | Sequence[float]  # how `fit_into` fills the part of the square outside the image
# suffixes of image files; files that OpenCV cannot read are reported, not skipped
IMAGE_SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".jp2",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
}
IMAGE_SUFFIXES |= {".avif", ".heic", ".heif"}
# the limit of Pillow: a few kilobytes can decode to gigabytes
MAX_PIXELS = 178_956_970
_FAR = 10  # values that exceed the range seen in fit by more than this multiple of it are on another scale


def scale_pixels(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 0-255 to float32 0-1 and other floats than float64 to float32."""
    if images.is_floating_point():
        return images if images.dtype == torch.float64 else images.to(torch.float32)
    return images.to(torch.float32) / 255


def list_of_images(X: ArrayLike) -> list[torch.Tensor] | None:
    """The checked images (h, w[, c]) of a list, tuple, column or object array; None for other X."""
    if hasattr(X, "to_numpy") and len(getattr(X, "shape", ())) == 1:  # a column of a table
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if not isinstance(X, (list, tuple)) or len(X) == 0 or not _is_image(X[0]):
        return None
    return [_check_image(image, i) for i, image in enumerate(X)]


def image_array(X: ArrayLike) -> Any:
    """Convert an array of images to numpy or to a dense tensor, or raise an error."""
    if X is None or is_bags(X):
        kind = "None" if X is None else "a DescriptorSets, bags of local descriptors"
        raise ValueError(f"images are {kind}, but must be pixels. Pass an array (n, h, w) or (n, h, w, c)")
    refuse_non_numbers("this function", X, "images as arrays of pixels")
    if isinstance(X, torch.Tensor):
        return dense_tensor(X, "images")
    if np.ma.is_masked(X):
        raise ValueError("images are a masked array. Fill the masked pixels first, X.filled(value)")
    try:
        return np.asarray(to_numpy(X))
    except ValueError as error:  # lists of lists of different lengths
        raise ValueError(f"images must be an array (n, h, w) or (n, h, w, c): {error}") from error


def check_axes(shape: Sequence[int]) -> None:
    """Raise a ValueError if an array of this shape is probably not images (n, h, w[, c]).

    Images with few rows are accepted: (n, 4, 4, 64) are maps of 4 x 4 cells, not images of 4 channels.
    """
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > shape[1]:
        raise ValueError(
            f"images of shape {tuple(shape)} seem to have their channels first, but are read as (n, h, w, c). Pass "
            "X.transpose(0, 2, 3, 1) of an array, or X.permute(0, 2, 3, 1) of a tensor"
        )
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 2 * shape[2]:
        refuse_one_image(shape)


def refuse_one_image(shape: Sequence[int]) -> NoReturn:
    """Raise the ValueError for a single image without a sample axis."""
    raise ValueError(
        f"X of shape {tuple(shape)} looks like one image without the sample axis, but images are read as (n, h, w) or "
        "(n, h, w, c). Pass X[None] for one image, or X[..., None] for narrow grey images"
    )


def check_pixels(images: ArrayLike, first: int = 0) -> torch.Tensor:
    """Check images (n, ...) of finite floats or of integers 0-255, and convert them to a detached tensor.

    Integers become uint8. Errors name the image, counted from ``first``.
    """
    images = image_array(images)
    if not isinstance(images, torch.Tensor) and images.dtype.kind not in "fiu":
        raise ValueError(f"images must hold real numbers, got dtype {images.dtype}. Convert them to uint8 or float32")
    if images.ndim < 2:
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, c), got {tuple(images.shape)}")
    check_axes(images.shape)
    whole = not images.is_floating_point() if isinstance(images, torch.Tensor) else images.dtype.kind in "iu"
    if whole and images.dtype not in (np.uint8, torch.uint8):
        wrong = ((images < 0) | (images > 255)).reshape(len(images), -1).any(1)
        if wrong.any():
            row = int(np.flatnonzero(wrong.tolist())[0])
            raise ValueError(
                f"image {first + row} has whole numbers from {images[row].min()} to {images[row].max()}, but "
                "integers must be in 0-255. Rescale other ranges to floats 0-1"
            )
        images = images.to(torch.uint8) if isinstance(images, torch.Tensor) else images.astype(np.uint8)
    images = as_tensor(images)
    if images.is_floating_point() and not torch.isfinite(
        images.sum()
    ):  # one pass; the image is only searched if needed
        finite = torch.isfinite(images).flatten(1).all(1)
        if not finite.all():
            raise ValueError(f"image {first + int((~finite).nonzero()[0])} contains NaN or infinity")
    return images


def stack_images(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack images of equal shape: uint8 if all are uint8, otherwise floats, where uint8 is scaled to 0-1."""
    kinds = {image.dtype for image in images}
    images = images if len(kinds) == 1 else [scale_pixels(image) for image in images]
    return torch.stack([image.to(images[0].device) for image in images])


def need_extra(module: str, user: str, extra: str = "image") -> Any:
    """Import a module of an extra, or raise an ImportError that says which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{user} needs {module}: pip install "sklinvariant[{extra}]"') from error


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a file as an RGB image (h, w, 3) of uint8, rotated by its EXIF orientation; transparency is dropped.

    16 bits are reduced to 8. A file that declares more than ``MAX_PIXELS`` pixels, or more than the environment
    variable ``SKLINVARIANT_MAX_PIXELS`` allows, is rejected before it is decoded.

    Raises
    ------
    ValueError
        If the file, which the message names, cannot be read as an image, or is too large.
    """
    cv2 = need_extra("cv2", "reading images")
    limit = max_pixels()
    try:
        with open(path, "rb") as file:
            data = file.read()
        size = image_size(data)
        if size is not None and size[0] * size[1] > limit:
            raise ValueError(
                f"{path} has {size[0]} x {size[1]} pixels, more than the limit of {limit:,}. If you trust the file, "
                "set the environment variable SKLINVARIANT_MAX_PIXELS to a higher number"
            )
        image = None if size is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be read as an image ({error})") from error
    if image is None:
        raise ValueError(f"{path} cannot be read as an image")
    return np.ascontiguousarray(image[..., ::-1])


def max_pixels() -> int:
    """The maximum number of pixels of an image file."""
    given = os.environ.get("SKLINVARIANT_MAX_PIXELS", MAX_PIXELS)
    try:
        return int(given)
    except ValueError:
        raise ValueError(f"SKLINVARIANT_MAX_PIXELS must be an integer, got {given!r}") from None


def fit_into(image: np.ndarray, size: int, fill: Fill = "mean") -> np.ndarray:
    """Fit an image (h, w[, c]) into a square of size × size pixels without cropping or distortion; fill the rest."""
    cv2 = need_extra("cv2", "image_size")
    h, w = image.shape[:2]
    scale = size / max(h, w)
    # an even margin, so that the image is centred and a rotated image gives the rotated square
    shape = tuple(size - 2 * min(round((size - length * scale) / 2), (size - 1) // 2) for length in (h, w))
    if shape != (h, w):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        channels = image.reshape(h, w, -1)
        parts = [
            channels[..., i : i + 4] for i in range(0, channels.shape[2], 4)
        ]  # OpenCV resizes at most four channels
        resized = [cv2.resize(part, shape[::-1], interpolation=how).reshape(*shape, part.shape[2]) for part in parts]
        image = np.concatenate(resized, axis=2).reshape(*shape, *image.shape[2:])
    if shape == (size, size):
        return image
    rest = size - shape[0], size - shape[1]
    border = [(pixels // 2, pixels - pixels // 2) for pixels in rest] + [(0, 0)] * (image.ndim - 2)
    if fill == "edge":
        return np.pad(image, border, mode="edge")
    if fill == "reflect":
        return np.pad(image, border, mode="symmetric")
    scale = 255 if image.dtype == np.uint8 else 1
    value = image.mean((0, 1)) if isinstance(fill, str) else np.asarray(fill) * scale
    canvas = np.empty((size, size, *image.shape[2:]), image.dtype)
    canvas[:] = np.round(value) if scale == 255 else value
    canvas[border[0][0] : size - border[0][1], border[1][0] : size - border[1][1]] = image
    return canvas


def range_of(images: torch.Tensor | list[torch.Tensor]) -> tuple[float, float]:
    """Lowest and highest value of images, a tensor or a list of tensors; 0 and 1 for integers."""
    if not isinstance(images, torch.Tensor):
        lows, highs = zip(*map(range_of, images), strict=True)
        return min(lows), max(highs)
    if not images.is_floating_point():
        return 0.0, 1.0
    return float(images.min()), float(images.max())


def check_range(images: torch.Tensor | list[torch.Tensor], fitted: Sequence[float], name: str) -> None:
    """Raise a ValueError if images, a tensor or a list of tensors, are on another scale than ``fitted``, [low, high].

    Somewhat darker, brighter or noisier images are accepted. Floats 0-255 after a fit on 0-1 are not.
    """
    low, high = fitted
    margin = _FAR * (high - low)
    lowest, highest = range_of(images)
    if lowest < low - margin or highest > high + margin:
        ranges = map(range_of, images)
        i, (lowest, highest) = next((i, r) for i, r in enumerate(ranges) if r[0] < low - margin or r[1] > high + margin)
        raise ValueError(
            f"image {i} has floats from {lowest:.4g} to {highest:.4g}, but {name} was fitted on images from {low:.4g} "
            f"to {high:.4g}. Rescale the floats to this range, or pass integers 0-255, which are scaled to 0-1"
        )
    if high - low > _FAR and not any(image.is_floating_point() for image in images):
        raise ValueError(
            f"the images have integers 0-255, which are scaled to 0-1, but {name} was fitted on floats from "
            f"{low:.4g} to {high:.4g}. Pass floats on that scale, or fit on integers"
        )


def _is_image(item):
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and isinstance(item[0], (list, tuple, np.ndarray))
    return getattr(item, "ndim", 0) >= 2 or (hasattr(item, "__array_interface__") and np.asarray(item).ndim >= 2)


def _check_image(image, i):
    try:
        image = image_array(image)
    except (TypeError, ValueError) as error:
        raise type(error)(f"image {i} must be an array (h, w[, c]): {error}") from error
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"image {i} must be of shape (h, w) or (h, w, c), got {tuple(image.shape)}")
    if not isinstance(image, torch.Tensor) and image.dtype.kind not in "fiu":
        raise ValueError(f"image {i} must hold real numbers, got dtype {image.dtype}. Convert it to uint8 or float32")
    return check_pixels(image[None], first=i)[0]
