"""SIFT, DAISY and ORB descriptors of OpenCV and scikit-image, at key points or on a grid."""

from __future__ import annotations

import importlib
from dataclasses import KW_ONLY
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed

from sklinvariant.bags import DescriptorSets
from sklinvariant.base import Count, NJobs, declared, n_threads, need_extra, to_numpy
from sklinvariant.images import ImageReader, ImageTransformer

_WIDTHS = {"sift": 128, "rootsift": 128, "orb": 256, "daisy": (3 * 8 + 1) * 8}
_LIBRARIES = {"sift": "cv2", "rootsift": "cv2", "orb": "cv2", "daisy": "skimage.feature"}
_LUMA = np.array([0.299, 0.587, 0.114])


@declared
class LocalDescriptors(ImageTransformer):
    """Convert images to bags of SIFT, RootSIFT, DAISY or ORB descriptors.

    Images are converted to greyscale, and may differ in size. An image without key points, or smaller than the
    descriptor, gives an empty bag. The values are float32.

    Parameters
    ----------
    method : {"sift", "rootsift", "daisy", "orb"}
        "sift" and "orb" are those of OpenCV; "rootsift" is the square root of L1-normalised SIFT (Arandjelović &
        Zisserman 2012); "daisy" is that of scikit-image, always on a grid. SIFT has 128 features, DAISY 200, and ORB
        256 bits, as 0 and 1.
    step : int or None
        Distance between the points of a regular grid in pixels. None detects key points ("daisy" then uses 4).
    size : int
        Side in pixels of the region described at a grid point: the 4 x 4 cells of SIFT, or the diameter of DAISY. It is
        always 31 for ORB. Key points have their own size.
    max_keypoints : int
        Maximum number of key points per image; the strongest are kept.
    n_jobs : int or None
        Number of images processed at a time, in threads unless ``joblib.parallel_config`` is set.

    Examples
    --------
    >>> from skimage.data import camera
    >>> from sklinvariant.feature_extraction import LocalDescriptors
    >>> LocalDescriptors(max_keypoints=50).fit_transform([camera(), camera()[:200]]).shape[::2]
    (2, 128)
    """

    method: Literal["sift", "rootsift", "daisy", "orb"] = "sift"
    _: KW_ONLY
    step: Count | None = None
    size: Count = 16
    max_keypoints: Count = 500
    image_shape: tuple | list | None = None
    n_jobs: NJobs = None

    _reader = ImageReader(any_size=True, any_channels=True)

    def _prepare(self, given):
        need_extra(_LIBRARIES[self.method], "LocalDescriptors")
        return {"n_descriptor_features": _WIDTHS[self.method]}

    def _describe(self, given):
        need_extra(_LIBRARIES[self.method], "LocalDescriptors")
        are_features = len(given.sample_shape) == 1 and self.image_shape is None
        images = [_grey(to_numpy(image), i, clip=are_features) for i, image in enumerate(given.data)]
        describe = _Describer(self)
        parallel = Parallel(n_jobs=self.n_jobs and n_threads(self.n_jobs), prefer="threads")
        return DescriptorSets.from_bags(parallel(delayed(describe)(image, i) for i, image in enumerate(images)))


class _Describer:
    """Maps an image (h, w) uint8 to descriptors (m, width) float32. Small, so that it can be sent to a worker."""

    def __init__(self, params):
        self.method, self.step, self.size, self.most = params.method, params.step, params.size, params.max_keypoints

    def __call__(self, image, i):
        try:
            found = self._daisy(image) if self.method == "daisy" else self._opencv(image)
        except Exception as error:
            raise ValueError(
                f"image {i}, {image.shape[0]} x {image.shape[1]} pixels: {self.method}: {error}"
            ) from error
        if found is None or len(found) == 0:
            return np.zeros((0, _WIDTHS[self.method]), np.float32)
        if self.method == "orb":
            found = np.unpackbits(found, axis=1)
        found = found.astype(np.float32, copy=False)
        if self.method == "rootsift":
            found = np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-12))
        return found

    def _daisy(self, image):
        from skimage.feature import daisy

        radius = max(self.size // 2, 1)
        if min(image.shape) <= 2 * radius:
            return None
        grid = daisy(image, step=self.step or 4, radius=radius, rings=3, histograms=8, orientations=8)
        return grid.reshape(-1, _WIDTHS["daisy"])

    def _opencv(self, image):
        cv2: Any = importlib.import_module("cv2")  # imported by name, because its type stubs lack some functions
        if min(image.shape) < 4:
            return None
        on_grid = self.step is not None
        if self.method == "orb":  # on a grid, points near the border are kept, where OpenCV mirrors the image
            extractor = cv2.ORB_create(self.most, edgeThreshold=0) if on_grid else cv2.ORB_create(self.most)
        else:
            extractor = cv2.SIFT_create(self.most)
        if not on_grid:
            found = extractor.detectAndCompute(image, None)[1]
            return None if found is None else found[: self.most]
        ys, xs = (np.arange(self.step // 2, length, self.step) for length in image.shape)
        # a cell of SIFT is 1.5 times as wide as its key point; the angle is 0
        points = [cv2.KeyPoint(float(x), float(y), self.size / 6, 0.0) for y in ys for x in xs]
        return extractor.compute(image, points)[1]


def _grey(image, i, clip):
    """(h, w, c) uint8 0-255 or floats 0-1 -> (h, w) uint8."""
    if image.dtype != np.uint8:
        # float16 cannot represent 255 shades
        image = image.astype(np.float32 if image.itemsize < 4 else image.dtype, copy=False)
        low, high = image.min(), image.max()
        if not clip and (low < -1e-6 or high > 1 + 1e-6):
            raise ValueError(
                f"image {i} has floats from {low:.4g} to {high:.4g}, but floats must be 0-1. Rescale it, or pass uint8 "
                "0-255."
            )
        image = np.clip(image, 0, 1) * 255
    channels = image.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"image {i} has {channels} channels, but 1 (greyscale), 3 (RGB) or 4 (RGBA, where A is ignored) are "
            "required. Convert the image."
        )
    image = image[..., 0] if channels == 1 else image[..., :3] @ _LUMA
    return np.ascontiguousarray(np.rint(image).astype(np.uint8))
