"""Images as they come in: arrays, tensors or lists of pictures, whole numbers 0-255 or floats 0-1."""

import importlib
import os

import numpy as np
import torch

from sklinvariant.base import as_tensor, dense_tensor, is_bags, refuse_non_numbers, to_numpy
from sklinvariant.images._image_size import image_size

# by their names; those that OpenCV cannot read here are told of, not passed over
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
# above this Pillow, too, takes a file for an attack: a few kilobytes can decode to gigabytes
MAX_PIXELS = 178_956_970
_FAR = 10  # times the range seen in fit: further away, images are on another scale


def scale_pixels(images):
    """uint8 0-255 as float32 0-1; float64 as it is, other floats as float32."""
    if images.is_floating_point():
        return images if images.dtype == torch.float64 else images.to(torch.float32)
    return images.to(torch.float32) / 255


def list_of_images(X):
    """The pictures (h, w[, c]) of a list, tuple, column or object array, each checked; None for other X."""
    if hasattr(X, "to_numpy") and len(getattr(X, "shape", ())) == 1:  # a column of a table
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if not isinstance(X, (list, tuple)) or len(X) == 0 or not _is_image(X[0]):
        return None
    return [_check_image(picture, i) for i, picture in enumerate(X)]


def image_array(X):
    """An array of images as numpy or as a dense tensor; anything that cannot be one is refused."""
    if X is None or is_bags(X):
        kind = "None" if X is None else "a DescriptorSets, bags of local descriptors"
        raise ValueError(f"images are {kind}; give an array (n, h, w) or (n, h, w, c) of pixels")
    refuse_non_numbers("this function", X, "images as arrays of pixels")
    if isinstance(X, torch.Tensor):
        return dense_tensor(X, "images")
    if np.ma.is_masked(X):
        raise ValueError("images are a masked array; fill the masked pixels first, X.filled(value)")
    try:
        return np.asarray(to_numpy(X))
    except ValueError as error:  # lists of lists of different lengths
        raise ValueError(f"images must be an array (n, h, w) or (n, h, w, c): {error}") from error


def check_axes(shape):
    """Raise a ValueError where images (n, h, w[, c]) of that shape are more likely something else.

    Images with few rows are taken as they are: (n, 4, 4, 64) are maps of 4 x 4 cells, not images of 4 channels.
    """
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > shape[1]:
        raise ValueError(
            f"images of shape {tuple(shape)} look as if their channels came first; they are read as (n, h, w, c). Give "
            "X.transpose(0, 2, 3, 1) of an array, or X.permute(0, 2, 3, 1) of a tensor"
        )
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 2 * shape[2]:
        refuse_one_image(shape)


def refuse_one_image(shape):
    raise ValueError(
        f"X of shape {tuple(shape)} looks like one image without the axis of samples; images are read as (n, h, w) or "
        "(n, h, w, c). Give X[None] for one image; give X[..., None] for grey images that are this narrow"
    )


def check_pixels(images, first=0):
    """(n, ...) finite floats, or whole numbers 0-255 as uint8, as a detached tensor; errors name the image."""
    images = image_array(images)
    if not isinstance(images, torch.Tensor) and images.dtype.kind not in "fiu":
        raise ValueError(f"images must hold real numbers, got dtype {images.dtype}")
    if images.ndim < 2:
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, c), got {tuple(images.shape)}")
    check_axes(images.shape)
    whole = not images.is_floating_point() if isinstance(images, torch.Tensor) else images.dtype.kind in "iu"
    if whole and images.dtype not in (np.uint8, torch.uint8):
        wrong = ((images < 0) | (images > 255)).reshape(len(images), -1).any(1)
        if wrong.any():
            row = int(np.flatnonzero(wrong.tolist())[0])
            raise ValueError(
                f"image {first + row} has whole numbers from {images[row].min()} to {images[row].max()}; they are read "
                "as 0-255. Divide other ranges yourself, to floats 0-1"
            )
        images = images.to(torch.uint8) if isinstance(images, torch.Tensor) else images.astype(np.uint8)
    images = as_tensor(images)
    if images.is_floating_point() and not torch.isfinite(images.sum()):  # one pass; only then is it looked into
        finite = torch.isfinite(images).flatten(1).all(1)
        if not finite.all():
            raise ValueError(f"image {first + int((~finite).nonzero()[0])} contains NaN or infinity")
    return images


def stack_images(pictures):
    """Pictures of one shape as one tensor: uint8 where all are, else floats (of 0-1, which uint8 becomes)."""
    kinds = {picture.dtype for picture in pictures}
    pictures = pictures if len(kinds) == 1 else [scale_pixels(picture) for picture in pictures]
    return torch.stack([picture.to(pictures[0].device) for picture in pictures])


def need_extra(module, user, extra="image"):
    """Import a module of an extra, or say which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{user} needs {module}: pip install "sklinvariant[{extra}]"') from error


def read_image(path):
    """(h, w, 3) uint8 RGB of a file, turned as the camera was held; 16 bits become 8, transparency is left out.

    A file that declares more than ``MAX_PIXELS`` pixels, or more than the environment variable
    ``SKLINVARIANT_MAX_PIXELS`` allows, is refused before it is decoded.

    Raises
    ------
    ValueError
        Where the file cannot be read as a picture, or is too large; it is named.
    """
    cv2 = need_extra("cv2", "reading pictures")
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
        picture = None if size is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if picture is None:
        raise ValueError(f"{path} cannot be read as an image")
    return np.ascontiguousarray(picture[..., ::-1])


def max_pixels():
    """The most pixels that a picture file may have."""
    given = os.environ.get("SKLINVARIANT_MAX_PIXELS", MAX_PIXELS)
    try:
        return int(given)
    except ValueError:
        raise ValueError(f"SKLINVARIANT_MAX_PIXELS must be a whole number, got {given!r}") from None


def fit_into(picture, size, fill="mean"):
    """A picture (h, w[, c]) whole in a square of size × size pixels, the rest filled: nothing is cut or distorted."""
    cv2 = need_extra("cv2", "image_size")
    h, w = picture.shape[:2]
    scale = size / max(h, w)
    # an even rest, so that the picture stands in the middle and a turned picture is the square turned
    shape = tuple(size - 2 * min(round((size - length * scale) / 2), (size - 1) // 2) for length in (h, w))
    if shape != (h, w):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        channels = picture.reshape(h, w, -1)
        parts = [channels[..., i : i + 4] for i in range(0, channels.shape[2], 4)]  # OpenCV shrinks at most four
        resized = [cv2.resize(part, shape[::-1], interpolation=how).reshape(*shape, part.shape[2]) for part in parts]
        picture = np.concatenate(resized, axis=2).reshape(*shape, *picture.shape[2:])
    if shape == (size, size):
        return picture
    rest = size - shape[0], size - shape[1]
    border = [(pixels // 2, pixels - pixels // 2) for pixels in rest] + [(0, 0)] * (picture.ndim - 2)
    if fill in ("edge", "reflect"):
        return np.pad(picture, border, mode={"edge": "edge", "reflect": "symmetric"}[fill])
    scale = 255 if picture.dtype == np.uint8 else 1
    value = picture.mean((0, 1)) if isinstance(fill, str) else np.asarray(fill) * scale
    canvas = np.empty((size, size, *picture.shape[2:]), picture.dtype)
    canvas[:] = np.round(value) if scale == 255 else value
    canvas[border[0][0] : size - border[0][1], border[1][0] : size - border[1][1]] = picture
    return canvas


def range_of(images):
    """Lowest and highest value of images, a tensor or a list of them; whole numbers are read as 0-1."""
    if not isinstance(images, torch.Tensor):
        lows, highs = zip(*map(range_of, images), strict=True)
        return min(lows), max(highs)
    if not images.is_floating_point():
        return 0.0, 1.0
    return float(images.min()), float(images.max())


def check_range(images, fitted, name):
    """Raise a ValueError where images, a tensor or a list of them, are on another scale than [low, high] seen in fit.

    Somewhat darker, brighter or noisier images are fine; images of 0-255 where 0-1 was fitted are not.
    """
    low, high = fitted
    margin = _FAR * (high - low)
    lowest, highest = range_of(images)
    if lowest < low - margin or highest > high + margin:
        ranges = map(range_of, images)
        i, (lowest, highest) = next((i, r) for i, r in enumerate(ranges) if r[0] < low - margin or r[1] > high + margin)
        raise ValueError(
            f"image {i} has floats from {lowest:.4g} to {highest:.4g}, but {name} was fitted on images from {low:.4g} "
            f"to {high:.4g}. Floats are taken as they are: bring them to that scale, or give whole numbers 0-255, "
            "which are read as 0-1"
        )
    if high - low > _FAR and not any(image.is_floating_point() for image in images):
        raise ValueError(
            f"the images have whole numbers 0-255, which are read as 0-1, but {name} was fitted on floats from "
            f"{low:.4g} to {high:.4g}. Give floats on that scale, or fit on whole numbers"
        )


def _is_image(item):
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and isinstance(item[0], (list, tuple, np.ndarray))
    return getattr(item, "ndim", 0) >= 2 or (hasattr(item, "__array_interface__") and np.asarray(item).ndim >= 2)


def _check_image(picture, i):
    try:
        picture = image_array(picture)
    except (TypeError, ValueError) as error:
        raise type(error)(f"image {i} is not an array (h, w[, c]): {error}") from error
    if picture.ndim not in (2, 3) or 0 in picture.shape:
        raise ValueError(f"image {i} must be of shape (h, w) or (h, w, c), got {tuple(picture.shape)}")
    if not isinstance(picture, torch.Tensor) and picture.dtype.kind not in "fiu":
        raise ValueError(f"image {i} must hold real numbers, got dtype {picture.dtype}")
    return check_pixels(picture[None], first=i)[0]
