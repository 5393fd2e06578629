"""SIFT, DAISY and ORB descriptors of images, by OpenCV and scikit-image, at key points or on a grid."""

import importlib
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklinvariant._base import to_numpy
from sklinvariant._descriptors import DescriptorSets
from sklinvariant.feature_extraction._images import ImageTransformer

_WIDTHS = {"sift": 128, "rootsift": 128, "orb": 32}


class LocalDescriptors(ImageTransformer):
    """Images to bags of SIFT, RootSIFT, DAISY or ORB descriptors.

    Parameters
    ----------
    method : {"sift", "rootsift", "daisy", "orb"}, default="sift"
        "sift" and "orb" are OpenCV's; "rootsift" takes the square root of L1-normalised SIFT (Arandjelović &
        Zisserman 2012); "daisy" is scikit-image's, always on a grid. ORB is 32 bytes of bits, given as numbers.
    step : int or None, default=None
        Pixels between the points of a regular grid; None looks for key points ("daisy" then takes 4).
    size : int, default=8
        Diameter of the patch at a grid point, or DAISY's radius, in pixels.
    max_keypoints : int, default=500
        Most key points an image.
    image_shape : tuple or None, default=None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. Without it a flat row is an image of one row of pixels.
    n_jobs : int or None, default=None
        Images at a time.

    Examples
    --------
    >>> from skimage.data import camera
    >>> from sklinvariant.feature_extraction import LocalDescriptors
    >>> LocalDescriptors(max_keypoints=50).fit_transform([camera(), camera()[:200]]).shape[::2]
    (2, 128)
    """

    _parameter_constraints = {
        "method": [StrOptions({"sift", "rootsift", "daisy", "orb"})],
        "step": [Interval(Integral, 1, None, closed="left"), None],
        "size": [Interval(Integral, 1, None, closed="left")],
        "max_keypoints": [Interval(Integral, 1, None, closed="left")],
        "image_shape": [tuple, list, None],
        "n_jobs": [Integral, None],
    }

    def __init__(self, method="sift", *, step=None, size=8, max_keypoints=500, image_shape=None, n_jobs=None):
        self.method = method
        self.step = step
        self.size = size
        self.max_keypoints = max_keypoints
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the images; there is nothing to learn.

        Parameters
        ----------
        X : list of (h, w[, c]) images of any size, array of shape (n, h, w[, c]) or (n, n_features)
            Grey or RGB; integers 0-255 or floats 0-1.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        self._read(X, reset=True)
        self._n_descriptor_features = _Describer(self).width
        return self

    def transform(self, X):
        """Describe each image.

        Parameters
        ----------
        X : list of (h, w[, c]) images of any size, array of shape (n, h, w[, c]) or (n, n_features)

        Returns
        -------
        DescriptorSets
            float32; an image without key points, or smaller than the descriptor, is an empty bag.
        """
        check_is_fitted(self)
        images = self._read(X, reset=False)
        describe = _Describer(self)
        bags = Parallel(n_jobs=self.n_jobs)(delayed(describe)(image) for image in images)
        return DescriptorSets.from_bags(bags)

    def _read(self, X, *, reset):
        if isinstance(X, (list, tuple)) and len(X) and getattr(X[0], "ndim", 0) >= 2:
            images = [to_numpy(image) for image in X]
            for i, image in enumerate(images):
                if image.ndim not in (2, 3) or image.dtype.kind not in "fiu" or not np.isfinite(image).all():
                    raise ValueError(
                        f"image {i} must be (h, w) or (h, w, c) of finite numbers, got {image.dtype} {image.shape}"
                    )
            if reset:
                self.n_features_in_ = images[0].size
            return [_grey(image) for image in images]
        images = self._check_images(X, reset=reset)
        return [_grey(image.cpu().numpy()) for image in images]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class _Describer:
    """One image (h, w) uint8 -> (m, width) float32; small to send to a worker."""

    def __init__(self, params):
        self.method, self.step, self.size, self.most = params.method, params.step, params.size, params.max_keypoints
        self.width = _WIDTHS.get(params.method, 3 * 8 * 8 + 8)

    def __call__(self, image):
        found = self._daisy(image) if self.method == "daisy" else self._opencv(image)
        if found is None or len(found) == 0:
            return np.zeros((0, self.width), np.float32)
        found = found.astype(np.float32)
        if self.method == "rootsift":
            found = np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-12))
        return found

    def _daisy(self, image):
        feature = need_extra("skimage.feature", "LocalDescriptors")
        if min(image.shape) <= 2 * self.size:
            return None
        grid = feature.daisy(image, step=self.step or 4, radius=self.size, rings=3, histograms=8, orientations=8)
        return grid.reshape(-1, self.width)

    def _opencv(self, image):
        cv2 = need_extra("cv2", "LocalDescriptors")
        if min(image.shape) < 4:
            return None
        extractor = cv2.ORB_create(self.most) if self.method == "orb" else cv2.SIFT_create(self.most)
        if self.step is None:
            return extractor.detectAndCompute(image, None)[1]
        ys, xs = (np.arange(self.step // 2, length, self.step) for length in image.shape)
        points = [cv2.KeyPoint(float(x), float(y), float(self.size)) for y in ys for x in xs]
        return extractor.compute(image, points)[1]


def need_extra(module, user):
    """Import a module of the "image" extra, or say which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{user} needs {module}: pip install "sklinvariant[image]"') from error


def _grey(image):
    """(h, w[, c]) integers 0-255 or floats 0-1 -> (h, w) uint8."""
    if image.dtype.kind == "f":
        image = np.clip(image, 0, 1) * 255
    if image.ndim == 3:
        channels = image.shape[2]
        weights = [0.299, 0.587, 0.114] if channels == 3 else np.full(channels, 1 / channels)
        image = image.astype(np.float64) @ np.asarray(weights)
    return np.ascontiguousarray(np.clip(image, 0, 255).round().astype(np.uint8))
