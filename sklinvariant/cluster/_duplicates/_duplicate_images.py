"""Groups of images that show the same photograph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from sklinvariant._compat import fit_context
from sklinvariant._warnings import warn
from sklinvariant.base import (
    Array,
    ArrayLike,
    Count,
    FittedState,
    Maybe,
    NJobs,
    Positive,
    Share,
    TorchEstimator,
    Whole,
    computing_device,
    declared,
    dense_tensor,
    n_threads,
    need_extra,
    to_numpy,
)
from sklinvariant.cluster._duplicates._image_agreement import (
    agreement,
    contrast_of_differences,
    detail,
    largest_difference,
    thumbnail,
)
from sklinvariant.images import (
    ImageFiles,
    ImageInput,
    ImageReader,
    Keypoints,
    align,
    find_keypoints,
    read_image,
)
from sklinvariant.neighbors import HammingNeighbors

_N_ASKED = 100  # key points of an image that vote for other images
_N_VOTES = 8  # of a key point
_MOST_BITS = 36  # of 128, by which key points that vote may differ
_N_CANDIDATES = 10  # images that are compared with an image
_MOST_EXACT = 200_000  # key points, above which they are searched in lists
_FEW = 30  # key points; images with fewer are also compared by their colours
_MOST_OFF = 8  # of 255, by which these colours may differ
_MOST_DIFFERENT = 30  # of 255, by which grey values of their thumbnails may differ
_BLANK = 50.0  # variance of the grey values of a blank image, at most
_BLOCK = 256  # images whose votes are counted together
_N_KEPT = 64  # detailed images that are kept in memory


class _Photograph(NamedTuple):
    keypoints: Keypoints
    thumbnail: np.ndarray  # grey
    colours: np.ndarray  # (8, 8, 3)
    detail: Callable[[], np.ndarray]  # reads the image again: (h, w) grey


class _Unreadable(Exception):
    """A file cannot be read."""


class _Photographs(ImageReader):
    """Reads images, or the names or bytes of files, which are decoded one by one."""

    def _check(self, estimator, X, kind, reset):
        if isinstance(X, ImageFiles):  # some of which may be unreadable
            return ImageInput(X.sources, kind, computing_device(estimator, kind), torch.float32)
        X = dense_tensor(X, "X") if isinstance(X, torch.Tensor) else X
        return super()._check(estimator, X, kind, reset)


@declared
class DuplicateImages(TorchEstimator):
    """Group images that are the same photograph, changed by rotation, mirroring, scale, crops, compression or colours.

    Key points with binary codes vote for candidates: images with similar codes, also mirrored. A candidate is confirmed
    if at least ``min_matches`` key points match at places that one affine map explains, and if the images agree where
    this map lays one over the other. Groups are the connected components of confirmed pairs. Another photograph of the
    same object from elsewhere is not a duplicate. Images with few key points, such as small or blank ones, are compared
    in eight orientations with the images of the most similar colours. They are duplicates only if they also have the
    same colours: a blank white image is no duplicate of a blank black one, even if there are blank images of all shades
    between.

    Documents that differ only in a name or a number are in one group. With ``max_contrast=8``, confirmed images are
    compared in detail, at up to 512 pixels a side, and are separated if they differ in one place much more than
    elsewhere. This does not see smaller print, nor a form before and after it was filled in, and it also separates
    photographs that are strongly blurred, compressed or recoloured.

    An image has at most 10 candidates of each way to find them (two for key points, eight for colours), so the number
    of comparisons grows with the number of images and not with the number of pairs.

    Parameters
    ----------
    min_matches : int
        Number of key points that must match. Raising it groups fewer images. Unrelated photographs have at most 8
        matches of 300 key points.
    min_similarity : float
        Correlation of the grey values, between 0 and 1, that the common area as a whole and nine tenths of its textured
        parts must exceed. Raising it separates photographs taken in quick succession, and strongly changed duplicates.
    min_overlap : float
        Common area of two duplicates, as a share of the larger one. Raising it separates crops from their originals.
    max_contrast : float or None
        For documents: how many times more two images may differ where they differ most than in most of their common
        area, such as 8. Lowering it separates documents with smaller differences, but also images that were changed
        more. None does not compare images in detail, and is faster.
    n_keypoints : int
        Number of key points of an image. Raising it finds smaller crops, but is slower.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. With None, a flat row is an image of one row of pixels.
    n_jobs : int or None
        Number of images that are read and described at a time, in threads.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int64
        Group of each image. As in `sklearn.cluster.HDBSCAN`, -1 marks images that belong to no group; -2 marks files
        that cannot be read.
    pairs_ : ndarray of shape (n_pairs, 2), int64
        Rows of the confirmed pairs.
    files_ : ndarray of shape (n,), object, or None
        Name of the file of each image, in the order of ``labels_``. None for arrays and for bytes of files.
    failed_ : list of [row, reason]
        Files that cannot be read.
    n_features_in_ : int
        Number of values in an image; for a list, in the first image. Undefined for file names.

    Notes
    -----
    OpenCV and faiss are required (``pip install ".[image,faiss]"`` in a checkout).

    Examples
    --------
    >>> import numpy as np
    >>> from skimage.data import astronaut, chelsea, coffee
    >>> from sklinvariant.cluster import DuplicateImages
    >>> images = [astronaut(), chelsea(), np.rot90(astronaut())[:400], coffee(), coffee()[::2, ::-2]]
    >>> DuplicateImages().fit_predict(images)
    array([ 0, -1,  0,  1,  1])
    """

    min_matches: Count = 10
    _: KW_ONLY
    min_similarity: Share = 0.6
    min_overlap: Share = 0.3
    max_contrast: Positive | None = None
    n_keypoints: Count = 300
    image_shape: tuple | list | None = None
    n_jobs: NJobs = None

    _reader = _Photographs(any_size=True, any_channels=True, in_files=True)
    _fits_shards = False
    _layout = {
        "n_channels": Whole(),
        "labels": Array("n_images", kinds="i"),
        "pairs": Array(None, 2, kinds="i"),
        "files": Maybe(Array("n_images", kinds="O")),  # None for arrays; models of earlier versions lack it
    }

    labels_ = FittedState("Group of each image, (n,).")
    pairs_ = FittedState("Rows of confirmed pairs, (n_pairs, 2).")
    files_ = FittedState("Name of the file of each image, (n,), or None.")

    def _adapt_earlier(self):
        if hasattr(self, "_state"):  # which may be from before there was ``files_``
            self._state = {"files": None, **self._state}

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: None = None) -> Self:
        """Find the groups.

        Parameters
        ----------
        X : folder, list of n file names, array of shape (n, h, w[, c]), list of (h, w[, c]), or (n, n_features)
            A folder, whose images and those of its subfolders are read, file names, or images of integers 0-255 or
            floats 0-1, which may differ in size.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For arrays that are no images, and if no file can be read. Other files that cannot be read are listed by a
            warning and in ``failed_``.
        """
        need_extra("cv2", "DuplicateImages")
        given = self._read(X, reset=True)
        photos, failed = self._describe(given)
        pairs = self._confirmed(photos)
        self.failed_ = failed
        self._state = {
            "n_channels": _n_channels(given.data[0]),
            "labels": _labels(photos, pairs),
            "pairs": pairs,
            "files": _names(given.data),
        }
        if failed:
            listed = "; ".join(reason for _, reason in failed[:10])
            warn(f"DuplicateImages: {len(failed)} of {len(photos)} images were not read: {listed}")
        return self

    def fit_predict(self, X: ArrayLike, y: None = None) -> np.ndarray:
        """Find the groups, and return ``labels_``.

        Returns
        -------
        ndarray of shape (n,)
            Group of each image, -1 for images in no group, -2 for files that cannot be read.
        """
        return self.fit(X).labels_

    def _describe(self, given):
        """Each image as a `_Photograph`, None if it cannot be read, and [row, reason] of these."""
        are_features = len(given.sample_shape) == 1 and self.image_shape is None
        read = partial(_pixels, given.data, are_features=are_features)
        detailed = lru_cache(_N_KEPT)(partial(_detail, read))
        found = Parallel(n_jobs=self.n_jobs and n_threads(self.n_jobs), prefer="threads")(
            delayed(_described)(row, read, detailed, self.n_keypoints) for row in range(len(given.data))
        )
        failed = [[row, one] for row, one in enumerate(found) if isinstance(one, str)]
        if len(failed) == len(found):
            raise ValueError(f"none of {len(found)} images can be read, but at least one is required: {failed[0][1]}")
        return [None if isinstance(one, str) else one for one in found], failed

    def _confirmed(self, photos):
        """Rows (n_pairs, 2) of images that are the same photograph."""
        by_votes = [pair for pair in sorted(_voted_pairs(photos)) if self._match(*(photos[row] for row in pair))]
        by_colours = [pair for pair in _coloured_pairs(photos) if self._agree_upright(*(photos[row] for row in pair))]
        return np.array(sorted({*by_votes, *_without_chains(by_colours, photos)}), np.int64).reshape(-1, 2)

    def _match(self, one, other):
        """Whether key points match, and the images agree where they lie over each other."""
        upright, mirrored = align(one.keypoints, other.keypoints), align(one.keypoints.mirrored(), other.keypoints)
        matrix = upright.matrix
        if mirrored.n_matches > upright.n_matches:
            matrix = mirrored.matrix * np.array([-1, 1, 1])  # mirrored key points have the negative x
        n_matches = max(upright.n_matches, mirrored.n_matches)
        return (
            n_matches >= self.min_matches
            and self._agree(one.thumbnail, other.thumbnail, matrix)
            and self._agree_in_detail(one.detail, other.detail, matrix)
        )

    def _agree_upright(self, one, other):
        """Whether the images are nearly equal in one of the eight orientations."""
        views = zip(_orientations(one.thumbnail), _orientations(one.colours.astype(int)), strict=True)
        return any(
            view.shape == other.thumbnail.shape
            and np.abs(colours - other.colours).max() <= _MOST_OFF
            and largest_difference(view, other.thumbnail) <= _MOST_DIFFERENT
            and self._agree(view, other.thumbnail, np.eye(2, 3))
            and self._agree_in_detail(lambda k=k: _orientations(one.detail())[k], other.detail, np.eye(2, 3))
            for k, (view, colours) in enumerate(views)
        )

    def _agree(self, one, other, matrix):
        overlap, similarity = agreement(one, other, matrix)
        return overlap >= self.min_overlap and similarity >= self.min_similarity

    def _agree_in_detail(self, one, other, matrix):
        return self.max_contrast is None or contrast_of_differences(one(), other(), matrix) <= self.max_contrast


def _n_channels(image):
    return 3 if isinstance(image, str | bytes) else image.shape[-1]


def _names(images):
    """The names of the files (n,); None if some of the images are not in files."""
    return np.array(images, object) if all(isinstance(image, str) for image in images) else None


def _described(row, read, detailed, n_keypoints):
    """The `_Photograph` of an image or a file, or the reason why the file cannot be read."""
    try:
        pixels = read(row)
    except _Unreadable as error:
        return str(error)
    small = thumbnail(pixels), _small_colours(pixels)
    return _Photograph(find_keypoints(pixels, n_keypoints), *small, partial(detailed, row))


def _detail(read, row):
    """The detailed image, or a blank one, which agrees with all others, if its file can no longer be read."""
    try:
        return detail(read(row))
    except _Unreadable:
        return np.zeros((1, 1), np.uint8)


def _pixels(images, row, are_features):
    """The image (h, w, 3) of uint8 of a row."""
    image = images[row]
    if not isinstance(image, str | bytes):
        return _colours(to_numpy(image), row, are_features)
    try:
        return read_image(image)
    except ValueError as error:
        raise _Unreadable(str(error)) from error


def _colours(image, row, are_features):
    """(h, w, c) integers 0-255 or floats 0-1 -> (h, w, 3) uint8."""
    if image.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"image {row} has {image.shape[2]} channels, but 1 (greyscale), 3 (RGB) or 4 (RGBA, where A is ignored) "
            "are required. Convert the image."
        )
    if image.dtype != np.uint8:
        low, high = image.min(), image.max()
        if not are_features and (low < -1e-6 or high > 1 + 1e-6):
            raise ValueError(
                f"image {row} has floats from {low:.4g} to {high:.4g}, but floats must be 0-1. Rescale it, or pass "
                "uint8 0-255."
            )
        image = np.rint(255 * np.clip(image.astype(np.float64), 0, 1)).astype(np.uint8)
    image = image.repeat(3, axis=2) if image.shape[2] == 1 else image[..., :3]
    return np.ascontiguousarray(image)


def _voted_pairs(photos):
    """Pairs of rows whose key points have similar codes: for each image, those that share most."""
    counts = [0 if photo is None else len(photo.keypoints.codes) for photo in photos]
    owners = np.repeat(np.arange(len(photos)), counts)
    if len(owners) < 2:
        return set()
    codes = np.concatenate([photo.keypoints.codes for photo in photos if photo is not None])
    index = HammingNeighbors(
        min(_N_VOTES, len(codes)), packed=True, index="ivf" if len(codes) > _MOST_EXACT else "exact", random_state=0
    ).fit(codes)
    rows = [row for row, count in enumerate(counts) if count]
    pairs = set()
    for start in range(0, len(rows), _BLOCK):
        pairs |= _votes_of(photos, rows[start : start + _BLOCK], index, owners)
    return pairs


def _votes_of(photos, rows, index, owners):
    """Pairs of the images of a block with those that their key points vote for."""
    asked = [photos[row].keypoints for row in rows]
    asked = [Keypoints(one.places[:_N_ASKED], one.codes[:_N_ASKED]) for one in asked]
    voters = np.concatenate([np.full(len(one.codes), row) for row, one in zip(rows, asked, strict=True)])
    pairs = set()
    for views in (asked, [one.mirrored() for one in asked]):
        bits, found = index.kneighbors(np.concatenate([view.codes for view in views]))
        one, other = np.repeat(voters, found.shape[1]), owners[found.ravel()]
        near = (bits.ravel() <= _MOST_BITS) & (one != other)
        votes = coo_matrix((np.ones(near.sum()), (one[near], other[near])), shape=(len(photos), len(photos))).tocsr()
        for row in rows:
            own = votes[[row]]
            best = own.indices[np.argsort(-own.data, kind="stable")[:_N_CANDIDATES]]
            pairs |= {(min(row, column), max(row, column)) for column in best.tolist()}
    return pairs


def _coloured_pairs(photos):
    """Pairs of rows with the most similar colours in one of eight orientations, one of them with few key points."""
    firsts: dict[tuple, int] = {}  # of equal images
    pairs, few = set(), []
    for row, photo in enumerate(photos):
        if photo is not None:
            first = firsts.setdefault((photo.thumbnail.shape, photo.thumbnail.tobytes(), photo.colours.tobytes()), row)
            if first != row:
                pairs.add((first, row))
            elif len(photo.keypoints.codes) < _FEW:
                few.append(row)
    rows = np.array([*firsts.values()])
    index = NearestNeighbors(n_neighbors=min(_N_CANDIDATES + 1, len(rows)), algorithm="brute")
    index.fit(np.stack([photos[row].colours.ravel() for row in rows]).astype(np.float32))
    for row in few:
        views = np.stack([view.ravel() for view in _orientations(photos[row].colours)]).astype(np.float32)
        near = rows[index.kneighbors(views, return_distance=False)].ravel()
        pairs |= {(min(row, other), max(row, other)) for other in near.tolist() if other != row}
    return pairs


def _without_chains(pairs, photos):
    """The pairs without those that would join blank images whose colours differ, through images of colours between.

    Blank images are joined as in complete linkage, the most similar first, by their mean colours.
    """
    blank = {row for row in set(chain(*pairs)) if photos[row].thumbnail.var() <= _BLANK}
    colours = {row: photos[row].colours.mean(axis=(0, 1)) for row in blank}
    kept, linked = ([pair for pair in pairs if blank.issuperset(pair) == both] for both in (False, True))
    groups = DisjointSet(blank)
    ranges = {row: (colour, colour) for row, colour in colours.items()}  # of the colours of the group of a root
    for one, other in sorted(linked, key=lambda pair: (np.abs(colours[pair[0]] - colours[pair[1]]).max(), pair)):
        if not groups.connected(one, other):
            lows, highs = zip(ranges[groups[one]], ranges[groups[other]], strict=True)
            low, high = np.minimum(*lows), np.maximum(*highs)
            if (high - low).max() > _MOST_OFF:
                continue
            groups.merge(one, other)
            ranges[groups[one]] = low, high
        kept.append((one, other))
    return kept


def _orientations(image):
    return [np.ascontiguousarray(np.rot90(view, k)) for view in (image, image[:, ::-1]) for k in range(4)]


def _small_colours(image):
    """The image (h, w, 3), reduced to 8 x 8 pixels."""
    cv2 = need_extra("cv2", "DuplicateImages")
    return cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA)


def _labels(photos, pairs):
    """Groups numbered by their first image, -1 for images in no pair, -2 for files that cannot be read."""
    n = len(photos)
    graph: Any = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    groups = connected_components(graph, directed=False)[1]
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.full(len(first), -1)
    large = np.flatnonzero(sizes > 1)
    order[large[np.argsort(first[large])]] = np.arange(len(large))
    labels = order[inverse].astype(np.int64)
    labels[[photo is None for photo in photos]] = -2
    return labels
