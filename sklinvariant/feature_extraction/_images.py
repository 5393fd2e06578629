"""Images as estimators take them: arrays (n, h, w[, c]), flat rows, or a list of pictures of any size."""

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import validate_data

from sklinvariant._base import TorchEstimator, to_numpy
from sklinvariant._descriptors import as_tensor


class ImageTransformer(TransformerMixin, TorchEstimator, auto_wrap_output_keys=None):
    """Base of the transformers of images to `DescriptorSets`."""

    def set_output(self, *, transform=None):
        """Do nothing: bags stay bags, whatever container the later steps of a Pipeline give."""
        return self

    def get_feature_names_out(self, input_features=None):
        """Names of the features of a descriptor."""
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._n_descriptor_features)], dtype=object)

    def _check_images(self, X, *, reset):
        """(n, h, w, c) tensor where the images lie; integers as they are, which stand for 0-255."""
        if isinstance(X, (list, tuple)) and len(X) and getattr(X[0], "ndim", 0) >= 2:
            X = _stack(X)
        ndim = getattr(X, "ndim", 2)
        if ndim in (3, 4):
            images = as_tensor(to_numpy(X) if not isinstance(X, torch.Tensor) else X)
            _check_pixels(images)
            if len(images) == 0:
                raise ValueError("no images: 0 sample(s) were given, a minimum of 1 is required")
            images = images if images.ndim == 4 else images[..., None]
            shape = tuple(images.shape[1:])
            if reset:
                self.n_features_in_ = int(np.prod(shape))
            elif np.prod(shape) != self.n_features_in_:
                raise ValueError(
                    f"the images have {int(np.prod(shape))} features ({shape}), but {type(self).__name__} is expecting "
                    f"{self.n_features_in_} features as input"
                )
            return images
        return self._check_flat(X, reset)

    def _check_flat(self, X, reset):
        if isinstance(X, torch.Tensor):
            X = X.detach().cpu().numpy()
        X = validate_data(self, to_numpy(X), dtype=[np.float64, np.float32, np.uint8], reset=reset)
        shape = (1, X.shape[1]) if self.image_shape is None else tuple(self.image_shape)
        shape = shape if len(shape) == 3 else (*shape, 1)
        if np.prod(shape) != X.shape[1]:
            raise ValueError(f"rows of {X.shape[1]} features cannot be images of image_shape={self.image_shape}")
        return as_tensor(np.ascontiguousarray(X)).reshape(len(X), *shape)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.array_api_support = False  # the answer is a DescriptorSets, which is no array
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_in_")


def as_float(images):
    """Integers 0-255 as float32 0-1; floats as they are."""
    return images if images.is_floating_point() else images.to(torch.float32) / 255


def _stack(images):
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the images differ in size: {sorted(shapes)[:3]}; resize them, or use LocalDescriptors")
    return torch.stack(list(images)) if isinstance(images[0], torch.Tensor) else np.stack(images)


def _check_pixels(images):
    if images.is_complex() or images.dtype == torch.bool:
        raise ValueError(f"images must hold real numbers, got dtype {images.dtype}")
    if images.is_floating_point():
        finite = torch.isfinite(images.flatten(1)).all(1)
        if not finite.all():
            raise ValueError(f"image {int((~finite).nonzero()[0])} contains NaN or infinity")
