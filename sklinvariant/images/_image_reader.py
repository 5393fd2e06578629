"""The reader of images, arrays (n, h, w[, c]), flat rows and lists of images, and the checks of pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from sklinvariant._settings import detached
from sklinvariant.base import (
    ArrayLike,
    Input,
    Parameters,
    RowReader,
    Side,
    as_tensor,
    computing_device,
    declared,
    dense_tensor,
    is_bags,
    is_count,
    refuse_non_numbers,
    set_n_features,
    to_numpy,
)
from sklinvariant.images._image_files import ImageFiles
from sklinvariant.images._pixels import fit_tensor, scale_pixels, stack_images
from sklinvariant.ops import largest_value

_WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_TO_COLOUR = "Convert grey images to colour: np.dstack([image] * 3)"
_TO_GREY = "Convert the images to grey, for example images.mean(-1).astype(images.dtype)"
_MOST_ELONGATED = 8  # a longer 2-D X after a fit on images is taken for flat rows
_FAR = 10  # values that exceed the range seen in fit by more than this multiple of it are on another scale


@declared
class WithImageSize(Parameters):
    """Settings of estimators of images that must have one size.

    Parameters
    ----------
    image_size : int or None
        Fit each image, uncropped, into a square of this many pixels, and fill the rest with its mean colour. Required
        if images differ in size. Flat rows are not resized.
    """

    _: KW_ONLY
    image_size: Side | None = None


@dataclass
class ImageInput(Input):
    """Images (n, h, w, c) of uint8 or floats, or a list of (h, w, c) if they may differ in size.

    ``sample_shape`` is the shape of the first image in X: (h, w), (h, w, c), or (n_features,) of a flat row.
    """

    sample_shape: tuple[int, ...] = ()

    def tensor(self) -> torch.Tensor:
        """All images as floats, scaled to 0-1 if they are uint8, on the device."""
        return scale_pixels(self.data.to(self.device))


class ImageReader(RowReader):
    """Reads images for estimators with a parameter ``image_shape`` and ``n_channels`` in the fitted state.

    Integers are pixels 0-255; floats are not rescaled. Flat rows are images if ``image_shape`` is set, otherwise
    features of any dtype and scale, as images of one row of pixels. ``pixel_range_``, the lowest and highest pixel of
    `fit` (including 0 and 1), is fitted state, which models saved by earlier versions lack.

    A single grey image (h, w) cannot be distinguished from h flat rows of w features in `fit`. In `transform` it is
    refused, because its shape differs from that in `fit`.

    Images may be in files, or images of Pillow. With ``in_files`` files are read when they are
    used: the data are then `ImageFiles`.

    With ``any_size`` images may differ in size, also from those of `fit`; a list of images is read as a list. With
    ``any_channels`` the images of a list may differ in the number of channels.
    """

    _attribute_docs = {
        "pixel_range_": "pixel_range_ : list of two floats\n"
        "    The lowest and the highest pixel in `fit`, including 0 and 1. Images on another scale are refused."
    }
    needs = "images as arrays of pixels"
    three_d_array = True
    takes_files = True

    def __init__(self, *, any_size: bool = False, any_channels: bool = False, in_files: bool = False) -> None:
        super().__init__()
        self.any_size, self.any_channels, self.in_files = any_size, any_channels, in_files

    def opened(self, sources: list[str | bytes]) -> Any:
        """The images in files, which are read when they are used."""
        return ImageFiles(sources)

    def _check(self, estimator, X, kind, reset):
        if hasattr(X, "getbands"):  # of Pillow
            raise ValueError("X is one image of Pillow, but images are read as a list. Pass [X]")
        if isinstance(X, ImageFiles) and self.in_files:
            return self._check_files(estimator, X, kind, reset)
        if isinstance(X, (list, tuple)) and len(X) == 0:
            raise ValueError(f"X holds 0 sample(s), but {type(estimator).__name__} needs at least one image")
        X = self._of_size(estimator, X)
        images = list_of_images(X)
        if images is not None:
            images = [_check_image(image, i) for i, image in enumerate(images)]
            sample_shape = tuple(images[0].shape)
            images = self._check_list(estimator, images, reset)
        elif getattr(X, "ndim", 2) in (3, 4):
            images = _real_tensor(X)
            sample_shape = tuple(images.shape[1:])
            if not reset:
                self._refuse_other_sizes(estimator, images.shape)
            images = self._check_array(estimator, images, reset)
        elif estimator.image_shape is None:
            self._check_flat(estimator, X, reset)
            return self._check_features(estimator, X, kind, reset)
        else:
            self._check_flat(estimator, X, reset)
            images = self._check_rows(estimator, X, reset)
            sample_shape = (images[0].numel(),)
            if not reset:
                self._refuse_other_sizes(estimator, images.shape, of_rows=True)
        self._check_channels(estimator, images, reset)
        dtypes = {images.dtype} if isinstance(images, torch.Tensor) else {image.dtype for image in images}
        dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        return ImageInput(images, kind, computing_device(estimator, kind), dtype, sample_shape=sample_shape)

    def _of_size(self, estimator, X):
        """X or, if ``image_size`` is set, its images fitted into squares of this size. Flat rows keep their size."""
        if not isinstance(estimator, WithImageSize) or estimator.image_size is None:
            return [image.numpy() for image in X] if isinstance(X, ImageFiles) else X
        images: Any = list_of_images(X)
        if images is not None:
            images = (_check_image(image, i) for i, image in enumerate(images))
        elif getattr(X, "ndim", 2) in (3, 4):
            images = check_pixels(X)
        elif isinstance(X, ImageFiles):
            images = X
        else:
            return X
        return [fit_tensor(image, estimator.image_size) for image in images]

    def _check_files(self, estimator, files, kind, reset):
        """Images that are read later. The first is read now."""
        first = files[0][None]
        self._check_array(estimator, first, reset)
        self._check_channels(estimator, first, reset)
        device = computing_device(estimator, kind)
        return ImageInput(files, kind, device, torch.float32, sample_shape=tuple(first.shape[1:]))

    def _takes_any_size(self, estimator):
        return self.any_size

    def _check_list(self, estimator, images, reset):
        """Images (n, h, w, c), or a list of (h, w, c) with ``any_size``."""
        if self._takes_any_size(estimator):
            return self._check_any_sizes(estimator, images, reset)
        shapes = {tuple(image.shape) for image in images}
        if len({shape[:2] for shape in shapes}) > 1:
            has_size = isinstance(estimator, WithImageSize)
            advice = "Set image_size, to which they are resized" if has_size else "Resize them, or use LocalDescriptors"
            raise ValueError(f"the images differ in size: {sorted(shapes)[:3]}. {advice}")
        if len(shapes) > 1:
            images = [image if image.ndim == 3 else image[..., None] for image in images]
            self._check_channels(estimator, images, reset)
        images = stack_images(images)
        if not reset:
            self._refuse_other_sizes(estimator, images.shape)
        return self._check_array(estimator, images, reset)

    def _check_any_sizes(self, estimator, images, reset):
        """A list of images (h, w, c)."""
        _check_range(estimator, images, reset)
        if reset:
            set_n_features(estimator, images[0].numel())
        return [image if image.ndim == 3 else image[..., None] for image in images]

    def _check_array(self, estimator, images, reset):
        """Images (n, h, w, c)."""
        if 0 in images.shape:
            kind = "sample(s)" if images.shape[0] == 0 else f"feature(s) (shape={tuple(images.shape)})"
            raise ValueError(f"X holds no images: found array with 0 {kind}, a minimum of 1 is required")
        images = check_pixels(images)
        if not reset and images.ndim == 4:
            self._check_channels(estimator, images, reset)
        if reset or not self._takes_any_size(estimator):
            validate_data(estimator, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        _check_range(estimator, images, reset)
        return images if images.ndim == 4 else images[..., None]

    def _size_of_fit(self, state):
        """(height, width) of the images of the fit, or () if they are not known."""
        size = state.get("image_size", state.get("sample_shape", ())[:2])
        return tuple(size) if len(size) == 2 else ()

    def _refuse_other_sizes(self, estimator, shape, *, of_rows=False):
        """Raise a ValueError for a single image without a sample axis, and for images of another size than in fit.

        With ``of_rows`` the images are flat rows of ``image_shape``.
        """
        state = estimator._state
        colour = len(shape) == 3 and shape[2] == state["n_channels"] != 1
        if colour or (len(shape) == 3 and shape[0] > 1 and np.prod(shape) == estimator.n_features_in_):
            refuse_one_image(shape)
        expected = self._size_of_fit(state)
        if self._takes_any_size(estimator) or not expected or tuple(shape[1:3]) == expected:
            return
        h, w = expected
        resizes = getattr(estimator, "image_size", None) is not None and not of_rows
        what = f"image_size is {estimator.image_size}" if resizes else f"the images are {shape[1]} x {shape[2]} pixels"
        advice = "Resize the images"
        if of_rows:
            advice = f"Set image_shape={expected + (state['n_channels'],) * (state['n_channels'] > 1)}, or fit again"
        elif isinstance(estimator, WithImageSize) and h == w:
            advice = f"Set image_size={h}, or fit again"
        elif resizes:
            advice = "Set image_size=None, or fit again"
        raise ValueError(f"{what}, but {type(estimator).__name__} was fitted on images of {h} x {w}. {advice}")

    def _check_flat(self, estimator, X, reset):
        shape: tuple[int, ...] = getattr(X, "shape", ())
        if isinstance(X, torch.Tensor) and not X.is_nested and X.ndim != 2:
            raise ValueError(
                f"X must hold images or flat rows, got a tensor of shape {tuple(shape)}. Reshape your data"
            )
        if reset or len(shape) != 2 or shape[0] == 1:
            return
        of_images = estimator.image_shape is None and hasattr(estimator, "pixel_range_")  # not fitted on flat rows
        is_other = shape[1] != estimator.n_features_in_ and max(shape) <= _MOST_ELONGATED * min(shape)
        if np.prod(shape) == estimator.n_features_in_ or (of_images and is_other):
            refuse_one_image(shape)

    def _check_features(self, estimator, X, kind, reset):
        """Flat rows of features of any scale, as images (n, 1, n_features, 1)."""
        given = super()._check(estimator, X, kind, reset)
        if reset:
            estimator.__dict__.pop("pixel_range_", None)
        images = given.data.to(given.dtype)[:, None, :, None]  # integers are not pixels
        if not reset:
            self._refuse_other_sizes(estimator, images.shape, of_rows=True)
        self._check_channels(estimator, images, reset)
        return ImageInput(images, kind, given.device, given.dtype, sample_shape=(images.shape[2],))

    def _check_rows(self, estimator, X, reset):
        """Flat rows of pixels as images (n, h, w, c)."""
        if isinstance(X, torch.Tensor):
            rows = self._check_array(estimator, _real_tensor(X)[:, None], reset).flatten(1)
        else:
            rows = check_pixels(validate_data(estimator, to_numpy(X), reset=reset))
            _check_range(estimator, rows, reset)
        return rows.reshape(len(rows), *_shape_of_rows(estimator.image_shape, rows.shape[1]))

    def _check_channels(self, estimator, images, reset):
        if self.any_channels and isinstance(images, list):
            return
        state, name = estimator.__dict__.get("_state"), type(estimator).__name__
        expected = images[0].shape[-1] if reset else state["n_channels"]
        but = "image 0 has" if reset else f"{name} was fitted on images of"
        for i, image in enumerate(images if isinstance(images, list) else images[:1]):
            if image.shape[-1] != expected:
                n = image.shape[-1]
                what = f"image {i} has {n} channel(s)" if isinstance(images, list) else f"the images have {n} channels"
                advice = _TO_COLOUR if {n, expected} == {1, 3} else "Convert the images"
                if not reset and (n, expected) == (3, 1):
                    advice = _TO_GREY
                raise ValueError(f"{what}, but {but} {expected}. {advice}")


def _check_range(estimator, images, reset):
    """Store the range of the pixels in fit, and later raise a ValueError for images on another scale."""
    if reset:
        low, high = range_of(images)
        estimator.pixel_range_ = [min(low, 0.0), max(high, 1.0)]
    elif hasattr(estimator, "pixel_range_"):
        check_range(images, estimator.pixel_range_, type(estimator).__name__)


def _shape_of_rows(image_shape, n_features):
    """(h, w, c) of flat rows."""
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or not all(map(is_count, shape)):
        raise ValueError(f"image_shape must be (h, w) or (h, w, c) of positive integers, got {image_shape}")
    if np.prod(shape) != n_features:
        raise ValueError(
            f"rows of {n_features} features cannot be images of image_shape={image_shape}. Set image_shape to the "
            "shape of the images"
        )
    check_axes((1, *shape))
    return shape if len(shape) == 3 else (*shape, 1)


def list_of_images(X: ArrayLike) -> list[Any] | None:
    """The items of a list or tuple of images, unchecked; None for other X."""
    if not isinstance(X, (list, tuple)) or not _is_image(next((item for item in X if item is not None), None)):
        return None
    return list(X)


def image_array(X: ArrayLike, name: str = "images") -> torch.Tensor:
    """Convert an array of real numbers, which should be images, to a tensor, or raise an error."""
    if X is None or is_bags(X):
        kind = "None" if X is None else "a DescriptorSets, bags of local descriptors"
        raise ValueError(f"{name} must be pixels, but got {kind}. Pass an array (n, h, w) or (n, h, w, c)")
    refuse_non_numbers("this function", X, "images as arrays of pixels")
    return _real_tensor(X, name)


def _real_tensor(X, name="images"):
    """A tensor of real numbers that shares the memory of X if possible."""
    device = X.device if isinstance(X, torch.Tensor) else "cpu"
    if isinstance(X, torch.Tensor) and X.dtype == torch.uint64:
        X = X.cpu().numpy()
    if isinstance(X, torch.Tensor):
        X = detached(dense_tensor(X, name))
    elif np.ma.is_masked(X):
        raise ValueError(f"{name} must not be masked. Fill the masked pixels first, X.filled(value)")
    elif not isinstance(X, np.ndarray):
        try:
            X = np.asarray(to_numpy(X))
        except ValueError as error:
            raise ValueError(f"lists in {name} differ in length. Pass lists of equal length, or an array") from error
    real = X.dtype.is_floating_point or X.dtype in _WHOLE if isinstance(X, torch.Tensor) else X.dtype.kind in "fiu"
    if not real:
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}. Convert them to uint8 or float32")
    if X.dtype == np.uint64:
        X = np.minimum(X, np.iinfo(np.int64).max).astype(np.int64)  # larger values are no pixels and are refused later
    return as_tensor(X).to(device)


def check_pixels(images: ArrayLike, first: int = 0) -> torch.Tensor:
    """Check images (n, ...) of finite floats or of integers 0-255, and convert them to a detached tensor.

    Integers become uint8. Errors name the image, counted from ``first``.
    """
    images = image_array(images)
    if images.ndim < 2:
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, c), got {tuple(images.shape)}")
    check_axes(images.shape)
    if not images.is_floating_point() and images.dtype != torch.uint8:
        # torch cannot compare int8 with 255
        wrong = images < 0 if images.dtype == torch.int8 else (images < 0) | (images > 255)
        wrong = wrong.reshape(len(images), -1).any(1)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"image {first + row} has whole numbers from {images[row].min()} to {images[row].max()}, but "
                "integers must be in 0-255. Rescale other ranges to floats 0-1"
            )
        images = images.to(torch.uint8)
    # one pass; the image is only searched if needed
    if images.is_floating_point() and not math.isfinite(largest_value(images)):
        finite = torch.isfinite(images).flatten(1).all(1)
        if not finite.all():
            raise ValueError(f"image {first + int((~finite).nonzero()[0])} contains NaN or infinity")
    return images


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
    other = "set image_shape for flat rows" if len(shape) == 2 else "X[..., None] for narrow grey images"
    raise ValueError(
        f"X of shape {tuple(shape)} looks like one image without the sample axis, but images are read as (n, h, w) or "
        f"(n, h, w, c). Pass X[None] for one image, or {other}"
    )


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
    parts = [images] if isinstance(images, torch.Tensor) else images
    if high - low > _FAR and not any(part.is_floating_point() for part in parts):
        raise ValueError(
            f"the images have integers 0-255, which are scaled to 0-1, but {name} was fitted on floats from "
            f"{low:.4g} to {high:.4g}. Pass floats on that scale, or fit on integers"
        )


def _is_image(item):
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and isinstance(item[0], (list, tuple, np.ndarray))
    return getattr(item, "ndim", 0) >= 2 or (hasattr(item, "__array_interface__") and np.asarray(item).ndim >= 2)


def _check_image(image, i):
    if hasattr(image, "getbands"):  # of Pillow
        image = np.array(image if image.mode == "L" else image.convert("RGB"))
    if image is None or is_bags(image) or isinstance(image, (str, bytes, bytearray, os.PathLike)):
        kind = "None" if image is None else f"a {type(image).__name__}"
        raise ValueError(f"image {i} is {kind}, but must be an array (h, w[, c]). Remove it, or pass its pixels")
    image = _real_tensor(image, f"image {i}")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"image {i} must be of shape (h, w) or (h, w, c), got {tuple(image.shape)}")
    return check_pixels(image[None], first=i)[0]
