"""Whether two images show the same: the correlation of their grey values where one lies over the other."""

from __future__ import annotations

import numpy as np

from sklinvariant.base import need_extra

_SIDE = 96  # pixels of the longer side of a thumbnail
_WINDOW = 9  # pixels in which grey values are correlated, so that gamma and colour casts do not matter
_NOISE = 4.0  # squared grey values, added to variances
_TEXTURE = 50.0  # squared grey values: windows in which neither image varies more are flat, and are not looked at
_LEAST_PIXELS = 50
_DETAILED_SIDE = 512  # pixels, where another digit of small print can be seen
_TONE = 8  # grey values that are one step of a tone curve
_BLUR = 0.7  # pixels, so that sharp and resized images are comparable
_N_DIFFERENT = 30  # windows around a digit
_EXPECTED = 0.01  # added to the typical difference


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A small grey image (h, w) of an image (h, w, 3) of uint8."""
    return _grey(image, _SIDE / max(image.shape[:2]))


def detail(image: np.ndarray) -> np.ndarray:
    """A grey image (h, w) of at most 512 pixels a side, on which text can be read, of an image (h, w, 3) of uint8."""
    return _grey(image, min(_DETAILED_SIDE / max(image.shape[:2]), 1))


def _grey(image, scale):
    cv2 = need_extra("cv2", "the comparison of images")
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
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
    size = abs(np.linalg.det(matrix[:, :2]))
    if not 1e-3 < size < 1e3:
        return 0.0, 0.0
    moved, inside = _laid_over(one, other, matrix)
    if inside.sum() < _LEAST_PIXELS:
        return 0.0, 0.0
    overlap = min(inside.sum() / other.size, inside.sum() / (size * one.size))
    local, _, most = _local_correlations(moved, other.astype(float), inside)
    textured = inside & (most > _TEXTURE)
    local = local[textured if textured.sum() >= _LEAST_PIXELS else inside]
    whole = _correlation(np.cov(moved[inside], other[inside]))
    return float(overlap), float(min(whole, np.quantile(local, 0.1)))


def contrast_of_differences(one: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> float:
    """Ratio of the largest local difference of two detailed images to the median one.

    The first is mapped by a matrix (2, 3) of places. A difference is 1 minus the local correlation, after shifts of up
    to a pixel. Recompression and resizing change all parts, but another digit changes one part much more than others.
    Parts that are flat in one of the images are left out, such as clipped highlights and black borders.
    """
    cv2 = need_extra("cv2", "the comparison of images")
    if _enlargement(one, other, matrix) > 1:  # lay the finer image over the coarser one
        one, other, matrix = other, one, cv2.invertAffineTransform(matrix)
    reduction = 1 / _enlargement(one, other, matrix)
    if reduction > 1.1:
        one = cv2.GaussianBlur(one, (0, 0), 0.5 * np.sqrt(reduction**2 - 1))
    moved, inside = _laid_over(one, other, matrix)
    other = other.astype(float)
    toned = (_in_tones_of(other, moved, inside), other), (moved, _in_tones_of(moved, other, inside))
    return min(_contrast(a, b, inside) for a, b in toned)


def _contrast(one, other, inside):
    """`contrast_of_differences` of images that lie over each other."""
    cv2 = need_extra("cv2", "the comparison of images")
    one, other = (cv2.GaussianBlur(image, (0, 0), _BLUR) for image in (one, other))
    inside = cv2.erode(np.uint8(inside), np.ones((_WINDOW, _WINDOW)), borderValue=0) > 0
    shifts = [np.array([[1.0, 0, x], [0, 1, y]]) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    shifted = [_local_correlations(cv2.warpAffine(one, shift, one.shape[::-1]), other, inside) for shift in shifts]
    textured = inside & (shifted[4][1] > 2 * _TEXTURE)
    if textured.sum() < 4 * _N_DIFFERENT:
        return 0.0
    differences = np.sort(1 - np.max([local[textured] for local, _, _ in shifted], axis=0))
    return float(differences[-_N_DIFFERENT] / (np.median(differences) + _EXPECTED))


def _in_tones_of(other, image, inside):
    """The image, where each grey value is replaced by the mean of the other image at pixels of this value."""
    tone = (image // _TONE).astype(int)
    count, total = (np.bincount(tone[inside], weight, 256 // _TONE) for weight in (None, other[inside]))
    known = np.flatnonzero(count)
    return np.interp(image, _TONE * known + _TONE / 2, total[known] / count[known]) if len(known) else image


def _in_pixels(one, other, matrix):
    """The matrix (2, 3) of places as one of pixels. Pixel i has its centre at (i + 0.5) / side."""
    from_side, to_side = max(one.shape), max(other.shape)
    pixels = matrix * np.array([to_side / from_side, to_side / from_side, to_side])
    pixels[:, 2] += 0.5 * pixels[:, :2].sum(1) - 0.5
    return pixels


def _enlargement(one, other, matrix):
    return np.sqrt(abs(np.linalg.det(_in_pixels(one, other, matrix)[:, :2])))


def _laid_over(one, other, matrix):
    """The first image in the frame of the other, and where it covers the other."""
    cv2 = need_extra("cv2", "the comparison of images")
    pixels, shape = _in_pixels(one, other, matrix), other.shape[::-1]
    moved = cv2.warpAffine(one, pixels, shape, flags=cv2.INTER_LINEAR).astype(float)
    inside = cv2.warpAffine(np.ones_like(one), pixels, shape, flags=cv2.INTER_NEAREST)
    return moved, cv2.erode(inside, np.ones((3, 3)), borderValue=0) > 0


def _local_correlations(a, b, inside):
    """Correlation of the grey values inside the window around each pixel, and the lower and the higher variance."""
    cv2 = need_extra("cv2", "the comparison of images")
    weight = inside.astype(float)

    def mean(values):
        return cv2.boxFilter(values * weight, -1, (_WINDOW, _WINDOW)) / np.maximum(share, 1e-6)

    share = cv2.boxFilter(weight, -1, (_WINDOW, _WINDOW))
    mean_a, mean_b = mean(a), mean(b)
    across = mean(a * b) - mean_a * mean_b
    of_a, of_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    return _correlation([[of_a, across], [across, of_b]]), np.minimum(of_a, of_b), np.maximum(of_a, of_b)


def _correlation(covariance):
    (a, both), (_, b) = covariance
    return (both + _NOISE) / np.sqrt((np.maximum(a, 0) + _NOISE) * (np.maximum(b, 0) + _NOISE))
