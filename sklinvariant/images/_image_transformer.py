"""The base of the transformers of images to bags of descriptors."""

from typing import Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklinvariant._compat import CallbackSupportMixin, fit_context, reports_fit
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import ArrayLike, TorchEstimator, Whole, to_numpy
from sklinvariant.images._image_reader import ImageReader


class ImageTransformer(CallbackSupportMixin, TransformerMixin, TorchEstimator, auto_wrap_output_keys=None):
    """Base of the transformers of images to `DescriptorSets`. A subclass implements ``_prepare`` and ``_describe``.

    Parameters
    ----------
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. With None, a flat row is an image of one row of pixels.

    Attributes
    ----------
    n_features_in_ : int
        Number of values in an image; for a list, in the first image.
    """

    _layout = {
        "n_channels": Whole(),
        "n_descriptor_features": Whole(1, 1 << 24),
    }
    _reader = ImageReader()

    _learns_nothing = True

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
        given = self._read(X, reset=True)
        self._state = {"n_channels": given.data[0].shape[-1], **self._prepare(given)}
        return self

    def transform(self, X: ArrayLike) -> DescriptorSets:
        """Describe each image by a bag of descriptors.

        Returns
        -------
        DescriptorSets
            One bag for each image. The values are a tensor on the device of the images if these are tensors.
        """
        given = self._read(X)
        bags = self._describe(given)
        if given.kind.tensor_device is not None:
            return bags.to(given.kind.tensor_device)
        return DescriptorSets(to_numpy(bags.values), bags.offsets)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: the output is always a DescriptorSets, whatever the output container of a Pipeline."""
        return self

    def get_feature_names_out(self, input_features: ArrayLike = None) -> np.ndarray:
        """Names of the features of a descriptor.

        Returns
        -------
        ndarray of d str
        """
        check_is_fitted(self)
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._state["n_descriptor_features"])], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = False  # the output is a DescriptorSets, not an array
        tags.transformer_tags.preserves_dtype = []
        return tags
