"""The base of the estimators of images, which reads arrays (n, h, w[, c]), flat rows and lists of images."""

from typing import Self

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklinvariant._compat import CallbackSupportMixin, fit_context, reports_fit
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import (
    ArrayLike,
    TorchEstimator,
    Whole,
    check_rows,
    dense_tensor,
    is_count,
    keeps_state_on_failure,
    refuse_bags,
    refuse_non_numbers,
    refuse_none,
    to_numpy,
)
from sklinvariant.images._pixels import (
    check_axes,
    check_pixels,
    check_range,
    image_array,
    list_of_images,
    range_of,
    refuse_one_image,
    stack_images,
)


class ImageEstimator(TorchEstimator):
    """Base of the estimators of images, with a parameter ``image_shape`` and ``n_channels`` in the fitted state.

    Integers are pixels 0-255 and are divided by 255; floats are not rescaled. Flat rows are images if ``image_shape``
    is set, otherwise features of any dtype and scale. ``pixel_range_``, the lowest and highest pixel of `fit`
    (including 0 and 1), is fitted state, which models saved by earlier versions lack.
    """

    def _read(self, X, *, reset):
        """The images as a tensor (n, h, w, c) of uint8 or floats on their device."""
        self._refuse_other_kinds(X)
        found = list_of_images(X)
        if found is not None:
            X = _stack(found)
        if getattr(X, "ndim", 2) in (3, 4):
            X = image_array(X)
            if not reset:
                self._check_size(X.shape)
            images = self._read_array(X, reset)
        else:
            images = self._read_rows(X, reset)
        channels = images.shape[-1]
        if not reset and channels != self._state["n_channels"]:
            raise ValueError(
                f"the images have {channels} channels, but {type(self).__name__} was fitted on images of "
                f"{self._state['n_channels']}. Convert the images"
            )
        return images

    def _refuse_other_kinds(self, X):
        needed = "images as arrays of pixels"
        refuse_none(self, X, needed)
        refuse_non_numbers(self, X, needed)
        refuse_bags(self, X, needed)
        if isinstance(X, (list, tuple)) and len(X) == 0:
            raise ValueError(f"X holds 0 sample(s), but {type(self).__name__} needs at least one image")

    def _check_size(self, shape):
        """Raise a ValueError for a single image without a sample axis, and for images of another size than in fit."""
        colour = len(shape) == 3 and shape[2] == self._state["n_channels"] != 1
        if colour or (len(shape) == 3 and shape[0] > 1 and np.prod(shape) == self.n_features_in_):
            refuse_one_image(shape)
        expected = self._state.get("image_size")
        if expected is not None and list(shape[1:3]) != list(expected):
            raise ValueError(
                f"the images are {shape[1]} x {shape[2]} pixels, but {type(self).__name__} was fitted on images of "
                f"{expected[0]} x {expected[1]}. Resize the images"
            )

    def _check_range(self, images, *, reset):
        """Store the range of the pixels in fit, and later raise a ValueError for images on another scale.

        Models saved by earlier versions have no range and accept images on any scale.
        """
        if reset:
            low, high = range_of(images)
            self.pixel_range_ = [min(low, 0.0), max(high, 1.0)]
        elif hasattr(self, "pixel_range_"):
            check_range(images, self.pixel_range_, type(self).__name__)

    def _read_array(self, X, reset):
        if 0 in X.shape:
            kind = "sample(s)" if X.shape[0] == 0 else f"feature(s) (shape={tuple(X.shape)})"
            raise ValueError(f"X holds no images: found array with 0 {kind}, a minimum of 1 is required")
        images = check_pixels(X)
        validate_data(self, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        self._check_range(images, reset=reset)
        return images if images.ndim == 4 else images[..., None]

    def _read_rows(self, X, reset):
        """Read flat rows, which are images if ``image_shape`` is set, otherwise features of any scale."""
        if isinstance(X, torch.Tensor) and X.ndim != 2:
            raise ValueError(
                f"X must hold images or flat rows, got a tensor of shape {tuple(X.shape)}. Reshape your data"
            )
        shape: tuple[int, ...] = getattr(X, "shape", ())
        if not reset and len(shape) == 2 and shape[0] > 1 and np.prod(shape) == self.n_features_in_:
            refuse_one_image(shape)
        if self.image_shape is None:
            rows = check_rows(self, X, reset=reset)
            if reset:
                self.__dict__.pop("pixel_range_", None)
        elif isinstance(X, torch.Tensor):
            rows = self._read_array(dense_tensor(X, "images")[:, None], reset).flatten(1)
        else:
            rows = check_pixels(validate_data(self, to_numpy(X), reset=reset))
            self._check_range(rows, reset=reset)
        return rows.reshape(len(rows), *self._shape_of_rows(rows[0].numel()))

    def _shape_of_rows(self, n_features):
        shape = (1, n_features) if self.image_shape is None else tuple(self.image_shape)
        if len(shape) not in (2, 3) or not all(map(is_count, shape)):
            raise ValueError(f"image_shape must be (h, w) or (h, w, c) of positive integers, got {self.image_shape}")
        if np.prod(shape) != n_features:
            raise ValueError(
                f"rows of {n_features} features cannot be images of image_shape={self.image_shape}. Set "
                "image_shape to the shape of the images"
            )
        if self.image_shape is not None:
            check_axes((1, *shape))
        return shape if len(shape) == 3 else (*shape, 1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class ImageTransformer(CallbackSupportMixin, TransformerMixin, ImageEstimator, auto_wrap_output_keys=None):
    """Base of the transformers of images to `DescriptorSets`. A subclass implements ``_prepare`` and ``_describe``."""

    _layout = {
        "n_channels": Whole(),
        "n_descriptor_features": Whole(1, 1 << 24),
    }

    @keeps_state_on_failure
    @fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Check the parameters against the images; nothing is learned.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of integers 0-255 (scaled to 0-1) or floats.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            For invalid images, which the message names, and for parameters that do not fit the images.
        """
        images = self._read(X, reset=True)
        self._state = {"n_channels": images[0].shape[-1], **self._prepare(images, X)}
        return self

    def transform(self, X: ArrayLike) -> DescriptorSets:
        """Describe each image by a bag of descriptors.

        Returns
        -------
        DescriptorSets
            One bag for each image. The values are a tensor on the device of the images if these are tensors.
        """
        check_is_fitted(self)
        bags = self._describe(self._read(X, reset=False), X)
        first = X[0] if isinstance(X, (list, tuple)) else X
        if isinstance(first, torch.Tensor):
            return bags.to(first.device)
        return DescriptorSets(to_numpy(bags.values), bags.offsets)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: the output is always a DescriptorSets, whatever the output container of a Pipeline."""
        return self

    def get_feature_names_out(self, input_features: ArrayLike = None) -> np.ndarray:
        """Names of the features of a descriptor."""
        check_is_fitted(self)
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._state["n_descriptor_features"])], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = False  # the output is a DescriptorSets, not an array
        tags.transformer_tags.preserves_dtype = []
        return tags


def _stack(images):
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the images differ in size: {sorted(shapes)[:3]}. Resize them, or use LocalDescriptors")
    return stack_images(images)
