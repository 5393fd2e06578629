"""Key points of images with binary codes, and the alignment of two images by the key points that they share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklinvariant.base import need_extra

_SIDE = 512  # pixels; longer images are reduced, so that their key points are found at comparable sizes
_CONTRAST = 0.02  # half of the default of SIFT, so that dark and blurred photographs have key points as well
_CENTRE = 0.25  # from the coordinates of OpenCV to those of pixel centres: it adds 0.25 when it halves them
_MOST_BITS = 36  # of 128, by which the codes of a match may differ
_NEAR, _VERY_NEAR = 0.06, 0.015  # of the longer side: distances from the predicted place, at first and in the end


class Keypoints(NamedTuple):
    """The m strongest key points of an image, strongest first. Their codes do not depend on its rotation and scale."""

    places: np.ndarray  # (m, 4) float16: x and y as shares of the longer side, log2 of the size, angle in radians
    codes: np.ndarray  # (m, 16) uint8

    def mirrored(self) -> Keypoints:
        """The key points of the mirrored image, up to a translation."""
        x, y, size, angle = self.places.T
        cells = np.unpackbits(self.codes, axis=1).reshape(-1, 4, 4, 8)  # rows, columns, orientations
        bits = cells[:, ::-1][..., -np.arange(8) % 8].reshape(-1, 128)
        places = np.stack([-x, y, size, np.float16(np.pi) - angle], axis=1)
        return Keypoints(places, np.packbits(bits, axis=1))


NO_KEYPOINTS = Keypoints(np.zeros((0, 4), np.float16), np.zeros((0, 16), np.uint8))


class Alignment(NamedTuple):
    """The key points that two images share at consistent places."""

    n_matches: int
    matrix: np.ndarray  # (2, 3): affine map of places of the first image to those of the second


def find_keypoints(image: np.ndarray, n_keypoints: int) -> Keypoints:
    """SIFT key points of an image (h, w, 3) of uint8. A bit of a code is a value of the descriptor above its median."""
    cv2 = need_extra("cv2", "the search for key points")
    scale = _SIDE / max(image.shape[:2])
    if scale < 1:
        shape = [max(round(scale * length), 1) for length in image.shape[1::-1]]
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT_create(n_keypoints, contrastThreshold=_CONTRAST)
    found, values = sift.detectAndCompute(grey, None) if min(grey.shape) >= 4 else ([], None)
    if values is None:
        return NO_KEYPOINTS
    strongest = np.argsort([-p.response for p in found], kind="stable")[:n_keypoints]
    values, side = values[strongest], max(grey.shape)
    places = [
        ((p.pt[0] + _CENTRE) / side, (p.pt[1] + _CENTRE) / side, np.log2(p.size / side), np.radians(p.angle))
        for p in (found[row] for row in strongest)
    ]
    codes = np.packbits(values > np.median(values, axis=1, keepdims=True), axis=1)
    return Keypoints(np.array(places, np.float16), codes)


def align(one: Keypoints, other: Keypoints) -> Alignment:
    """Match key points whose codes are nearest to each other, and count the matches that agree on one affine map.

    Each match predicts a similarity from the places, sizes and angles of its two key points (Philbin et al. 2007,
    Object retrieval with large vocabularies and fast spatial matching). The one that most matches agree with is refined
    to an affine map by least squares.
    """
    rows, columns = _match(one.codes, other.codes)
    if len(rows) == 0:
        return Alignment(0, np.eye(2, 3))
    a, b = one.places[rows].astype(float), other.places[columns].astype(float)
    return _refined(a[:, :2], b[:, :2], _best_similarity(a, b))


def _match(one, other):
    """Rows of the codes that are nearest to each other."""
    cv2 = need_extra("cv2", "the comparison of key points")
    if len(one) == 0 or len(other) == 0:
        return [], []
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(one, other)
    near = [pair for pair in pairs if pair.distance <= _MOST_BITS]
    return [pair.queryIdx for pair in near], [pair.trainIdx for pair in near]


def _best_similarity(a, b):
    """The (2, 3) matrix of the similarity that most matches agree with, where a match predicts one."""
    p, q = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    turn = np.exp2(b[:, 2] - a[:, 2]) * np.exp(1j * (b[:, 3] - a[:, 3]))
    shift = q - turn * p
    off = np.abs(turn[:, None] * p + shift[:, None] - q)  # (predicting match, predicted match)
    best = (off < _NEAR * np.maximum(np.abs(turn), 1)[:, None]).sum(1).argmax()
    z, t = turn[best], shift[best]
    return np.array([[z.real, -z.imag, t.real], [z.imag, z.real, t.imag]])


def _refined(a, b, matrix):
    """Fit an affine map to the matches that agree with a similarity, and count those that agree with it."""
    homogeneous = np.column_stack([a, np.ones(len(a))])
    near = _agree(homogeneous, b, matrix, _NEAR)
    for _ in range(3):
        if near.sum() < 4:  # an affine map has the freedom of three matches
            break
        matrix = np.linalg.lstsq(homogeneous[near], b[near], rcond=None)[0].T
        near = _agree(homogeneous, b, matrix, _VERY_NEAR)
    return Alignment(int(near.sum()), matrix)


def _agree(homogeneous, b, matrix, most):
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.hypot(*(homogeneous @ matrix.T - b).T) < most * max(scale, 1)
