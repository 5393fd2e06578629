"""Images as estimators take them: arrays (n, h, w[, c]), flat rows, or a list of pictures of any size."""

import numpy as np
import torch
from sklearn.base import TransformerMixin, _fit_context
from sklearn.utils.validation import check_is_fitted, validate_data

from sklinvariant._base import TorchEstimator, in_compute_dtype, keeps_state_on_failure, refuse_none, to_numpy
from sklinvariant._compat import CallbackSupportMixin, reports_fit
from sklinvariant._constraints import is_count
from sklinvariant._descriptors import DescriptorSets
from sklinvariant._images import as_pictures, check_pixels, stack_pictures


class ImageEstimator(TorchEstimator):
    """Base of the estimators of images; it needs a parameter ``image_shape`` and ``n_channels`` in the state."""

    def _read(self, X, *, reset):
        """(n, h, w, c) tensor of uint8 or floats, where the images lie."""
        refuse_none(self, X, "images")
        pictures = as_pictures(X)
        if pictures is not None:
            X = _stack(pictures)
        expected = (
            None if reset else self._state.get("image_size")
        )  # where maps of another size would be other features
        if expected is not None and getattr(X, "ndim", 2) in (3, 4) and list(X.shape[1:3]) != list(expected):
            raise ValueError(
                f"the images are {X.shape[1]} x {X.shape[2]} pixels, but {type(self).__name__} was fitted on images of "
                f"{expected[0]} x {expected[1]}"
            )
        images = self._read_array(X, reset) if getattr(X, "ndim", 2) in (3, 4) else self._read_rows(X, reset)
        channels = images.shape[-1]
        if not reset and channels != self._state["n_channels"]:
            raise ValueError(
                f"the images have {channels} channels, but {type(self).__name__} was fitted on images of "
                f"{self._state['n_channels']}"
            )
        return images

    def _read_array(self, X, reset):
        X = X if isinstance(X, torch.Tensor) else to_numpy(X)
        if 0 in X.shape:
            kind = "sample(s)" if X.shape[0] == 0 else f"feature(s) (shape={tuple(X.shape)})"
            raise ValueError(f"no images: found array with 0 {kind}, a minimum of 1 is required")
        images = check_pixels(X)
        validate_data(self, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        return images if images.ndim == 4 else images[..., None]

    def _read_rows(self, X, reset):
        if isinstance(X, torch.Tensor):
            if X.ndim != 2:
                raise ValueError(
                    f"expected images or flat rows, got a tensor of shape {tuple(X.shape)}; Reshape your data"
                )
            rows = self._read_array(X[:, None], reset)
        else:
            rows = validate_data(self, to_numpy(X), reset=reset)
            # whole numbers are pixels where image_shape says so, and numbers like any other where it does not
            if self.image_shape is None and rows.dtype != np.uint8:
                rows = in_compute_dtype(rows)
            rows = check_pixels(rows)
        return rows.reshape(len(rows), *self._shape_of_rows(rows[0].numel()))

    def _shape_of_rows(self, n_features):
        shape = (1, n_features) if self.image_shape is None else tuple(self.image_shape)
        if len(shape) not in (2, 3) or not all(map(is_count, shape)):
            raise ValueError(f"image_shape must be (h, w) or (h, w, c) of positive integers, got {self.image_shape}")
        if np.prod(shape) != n_features:
            raise ValueError(f"rows of {n_features} features cannot be images of image_shape={self.image_shape}")
        return shape if len(shape) == 3 else (*shape, 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class ImageTransformer(CallbackSupportMixin, TransformerMixin, ImageEstimator, auto_wrap_output_keys=None):
    """Base of the transformers of images to `DescriptorSets`; a subclass says how in ``_prepare`` and ``_describe``."""

    @keeps_state_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def fit(self, X, y=None):
        """Check the parameters against the images; there is nothing to learn.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images: whole numbers 0-255 (read as 0-1) or floats.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad images (the image is named), and for parameters that do not fit them.
        """
        images = self._read(X, reset=True)
        self._state = {"n_channels": images[0].shape[-1], **self._prepare(images, X)}
        return self

    def transform(self, X):
        """Describe each image by a bag of descriptors.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images as in `fit`.

        Returns
        -------
        DescriptorSets
            One bag an image; its values are a tensor on the images' device where the images are tensors.
        """
        check_is_fitted(self)
        bags = self._describe(self._read(X, reset=False), X)
        first = X[0] if isinstance(X, (list, tuple)) else X
        if isinstance(first, torch.Tensor):
            return bags.to(first.device)
        return DescriptorSets(to_numpy(bags.values), bags.offsets)

    def set_output(self, *, transform=None):
        """Do nothing: bags stay bags, whatever container the later steps of a Pipeline give."""
        return self

    def get_feature_names_out(self, input_features=None):
        """Names of the features of a descriptor."""
        check_is_fitted(self)
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._state["n_descriptor_features"])], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = False  # the answer is a DescriptorSets, which is no array
        tags.transformer_tags.preserves_dtype = []
        return tags


def _stack(images):
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the images differ in size: {sorted(shapes)[:3]}; resize them, or use LocalDescriptors")
    return stack_pictures(images)
