"""All patches of an image on a regular grid, as its bag of local descriptors."""

from numbers import Integral

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklinvariant._descriptors import DescriptorSets
from sklinvariant.feature_extraction._images import ImageTransformer, as_float

_COUNT = Interval(Integral, 1, None, closed="left")


class DensePatches(ImageTransformer):
    """Images to bags of their patches: the raw pixels of a window that slides over the image.

    Parameters
    ----------
    patch_size : int or (int, int), default=8
        Height and width of a patch in pixels.
    stride : int, default=2
        Pixels between neighbouring patches.
    normalize : {"contrast", "l2"} or None, default=None
        "contrast" subtracts a patch's mean and divides by its standard deviation (plus 0.01, for flat patches);
        "l2" divides by its norm.
    image_shape : tuple or None, default=None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. Without it a flat row is an image of one row of pixels.

    Attributes
    ----------
    n_features_in_ : int
        Numbers in an image.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklinvariant.feature_extraction import DensePatches
    >>> DensePatches(4, stride=2).fit_transform(load_digits().images[:10])
    <DescriptorSets of 10 bags of 9 descriptors of 16 features, float64 on cpu>
    """

    _parameter_constraints = {
        "patch_size": [_COUNT, tuple],
        "stride": [_COUNT],
        "normalize": [StrOptions({"contrast", "l2"}), None],
        "image_shape": [tuple, list, None],
    }

    def __init__(self, patch_size=8, *, stride=2, normalize=None, image_shape=None):
        self.patch_size = patch_size
        self.stride = stride
        self.normalize = normalize
        self.image_shape = image_shape

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the images; there is nothing to learn.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features)
            Images: integers 0-255 (read as 0-1) or floats.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        images = self._check_images(X, reset=True)
        self._check_size(images)
        self._n_descriptor_features = int(np.prod(self._window) * images.shape[-1])
        return self

    def transform(self, X):
        """Cut images into patches.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features)

        Returns
        -------
        DescriptorSets
            ``patch_size² c`` features, a patch's pixels row by row; a tensor on the images' device.
        """
        check_is_fitted(self)
        images = self._check_images(X, reset=False)
        self._check_size(images)
        (height, width), step = self._window, self.stride
        patches = as_float(images).unfold(1, height, step).unfold(2, width, step)  # (n, i, j, c, h, w)
        patches = patches.permute(0, 1, 2, 4, 5, 3)
        patches = patches.reshape(len(images), patches.shape[1] * patches.shape[2], -1)
        bags = DescriptorSets.from_bags(_normalize(patches, self.normalize))
        return bags if isinstance(X, torch.Tensor) else DescriptorSets(bags.values.numpy(), bags.offsets)

    @property
    def _window(self):
        size = self.patch_size
        return (size, size) if isinstance(size, Integral) else tuple(size)

    def _check_size(self, images):
        height, width = images.shape[1:3]
        if self._window[0] > height or self._window[1] > width:
            raise ValueError(f"patch_size={self.patch_size} is larger than the images, {height} x {width} pixels")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _normalize(patches, how):
    if how == "contrast":
        patches = patches - patches.mean(-1, keepdim=True)
        return patches / (patches.std(-1, keepdim=True, unbiased=False) + 0.01)
    if how == "l2":
        return torch.nn.functional.normalize(patches, dim=-1)
    return patches.contiguous()
