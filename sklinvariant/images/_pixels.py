"""Pixels of images, in memory or in files: integers 0-255 or floats 0-1."""

import os
from collections.abc import Sequence

import numpy as np
import torch

from sklinvariant.base import need_extra
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
_HEIF = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"}  # brands
# the limit of Pillow: a few kilobytes can decode to gigabytes
MAX_PIXELS = 178_956_970


def scale_pixels(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 0-255 to float32 0-1 and other floats than float64 to float32."""
    if images.is_floating_point():
        return images if images.dtype == torch.float64 else images.to(torch.float32)
    return images.to(torch.float32) / 255


def channels_first(images: torch.Tensor) -> torch.Tensor:
    """Images (n, h, w) or (n, h, w, c) as (n, c, h, w)."""
    return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)


def stack_images(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack images of equal shape: uint8 if all are uint8, otherwise floats, where uint8 is scaled to 0-1."""
    kinds = {image.dtype for image in images}
    images = images if len(kinds) == 1 else [scale_pixels(image) for image in images]
    return torch.stack([image.to(images[0].device) for image in images])


def read_image(path: str | os.PathLike[str] | bytes) -> np.ndarray:
    """Read a file, or the bytes of one, as an RGB image (h, w, 3) of uint8, rotated by its EXIF orientation.

    Transparency is dropped. 16 bits are reduced to 8. A file that declares more than ``MAX_PIXELS`` pixels, or more
    than the environment variable ``SKLINVARIANT_MAX_PIXELS`` allows, is rejected before it is decoded.

    Raises
    ------
    ValueError
        If the file, which the message names, cannot be read as an image, or is too large.
    """
    cv2 = need_extra("cv2", "reading images")
    limit = max_pixels()
    data = path if isinstance(path, bytes) else b""
    name = f"a file of {len(data)} bytes" if isinstance(path, bytes) else os.fspath(path)
    try:
        if not isinstance(path, bytes):
            with open(path, "rb") as file:
                data = file.read()
        size = image_size(data)
        if size is not None and size[0] * size[1] > limit:
            raise ValueError(
                f"{name} has {size[0]} x {size[1]} pixels, more than the limit of {limit:,}. If you trust the file, "
                "set the environment variable SKLINVARIANT_MAX_PIXELS to a higher number"
            )
        image = None if size is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise ValueError(f"{name} cannot be read as an image ({error})") from error
    if image is None and data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        raise ValueError(
            f"{name} cannot be read as an image (it is an HEIC or AVIF file, which this OpenCV cannot decode). Convert "
            "it to JPEG or PNG"
        )
    if image is None:
        raise ValueError(f"{name} cannot be read as an image")
    return np.ascontiguousarray(image[..., ::-1])


def max_pixels() -> int:
    """The maximum number of pixels of an image file."""
    given = os.environ.get("SKLINVARIANT_MAX_PIXELS", MAX_PIXELS)
    try:
        return int(given)
    except ValueError:
        raise ValueError(f"SKLINVARIANT_MAX_PIXELS must be an integer, got {given!r}") from None


def fit_tensor(image: torch.Tensor, size: int) -> torch.Tensor:
    """Fit an image (h, w[, c]) of uint8 or floats into a square, see `fit_into`."""
    values = (image if image.dtype == torch.uint8 else scale_pixels(image)).cpu().numpy()  # which OpenCV supports
    return torch.as_tensor(fit_into(values, size), device=image.device)


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
