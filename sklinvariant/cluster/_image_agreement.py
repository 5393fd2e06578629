"""Whether two images show the same: the correlation of their grey values where one lies over the other."""

from __future__ import annotations

import numpy as np

from sklinvariant.base import need_extra

_SIDE = 96  # pixels of the longer side of a thumbnail
_WINDOW = 9  # pixels in which grey values are correlated, so that gamma and colour casts do not matter
_NOISE = 4.0  # squared grey values, added to variances
_TEXTURE = 50.0  # squared grey values: windows in which neither image varies more are flat, and are not looked at
_LEAST_PIXELS = 50


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A small grey image (h, w) of an image (h, w, 3) of uint8."""
    cv2 = need_extra("cv2", "the comparison of images")
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = _SIDE / max(grey.shape)
    shape = [max(round(scale * length), 1) for length in grey.shape[::-1]]
    return cv2.resize(grey, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def largest_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of the grey values of two thumbnails of the same shape, averaged over 3 x 3 pixels."""
    cv2 = need_extra("cv2", "the comparison of images")
    return float(np.abs(cv2.blur(one.astype(float) - other, (3, 3))).max())


def agreement(one: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
    """Overlap and similarity of two thumbnails, the first of which is mapped by a matrix (2, 3) of places.

    The overlap is the common area as a share of the larger image. The similarity is the correlation in the common
    area, or the local correlation that nine tenths of its textured parts exceed if it is lower. A text that differs is
    therefore seen on an otherwise white page.
    """
    cv2 = need_extra("cv2", "the comparison of images")
    size = abs(np.linalg.det(matrix[:, :2]))
    if not 1e-3 < size < 1e3:
        return 0.0, 0.0
    pixels = matrix * np.array([1, 1, _SIDE])  # thumbnail pixel i has its centre at (i + 0.5) / side
    pixels[:, 2] += 0.5 * pixels[:, :2].sum(1) - 0.5
    shape = other.shape[::-1]
    moved = cv2.warpAffine(one, pixels, shape, flags=cv2.INTER_LINEAR).astype(float)
    inside = cv2.warpAffine(np.ones_like(one), pixels, shape, flags=cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((3, 3)), borderValue=0) > 0
    if inside.sum() < _LEAST_PIXELS:
        return 0.0, 0.0
    overlap = min(inside.sum() / other.size, inside.sum() / (size * one.size))
    local = _local_correlations(moved, other.astype(float), inside)
    whole = _correlation(np.cov(moved[inside], other[inside]))
    return float(overlap), float(min(whole, np.quantile(local, 0.1)))


def _local_correlations(a, b, inside):
    """Correlations of the grey values inside the windows around pixels, without flat windows if enough are left."""
    cv2 = need_extra("cv2", "the comparison of images")
    weight = inside.astype(float)

    def mean(values):
        return cv2.boxFilter(values * weight, -1, (_WINDOW, _WINDOW)) / np.maximum(share, 1e-6)

    share = cv2.boxFilter(weight, -1, (_WINDOW, _WINDOW))
    mean_a, mean_b = mean(a), mean(b)
    across = mean(a * b) - mean_a * mean_b
    of_a, of_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    textured = inside & (np.maximum(of_a, of_b) > _TEXTURE)
    chosen = textured if textured.sum() >= _LEAST_PIXELS else inside
    return _correlation([[of_a, across], [across, of_b]])[chosen]


def _correlation(covariance):
    (a, both), (_, b) = covariance
    return (both + _NOISE) / np.sqrt((np.maximum(a, 0) + _NOISE) * (np.maximum(b, 0) + _NOISE))
