"""Pairs of consecutive frames, from which auto-pooling learns (section 2 of Sukhbaatar, Makino, Aihara 2013).

Axes: n sequences, l frames of a sequence, h×w pixels, c channels.
"""

import math
from collections import deque
from collections.abc import Iterator
from functools import cached_property
from numbers import Integral
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklinvariant._warnings import warn
from sklinvariant.base import Count, Positive, RandomState, Share, documented_by, integers, is_count, validated
from sklinvariant.datasets._clips import find_clips

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_PLACES = 16  # positions tried for one patch before a frame is skipped


class VideoPairs:
    """Stream pairs or short sequences of consecutive frames, whole or as patches at random positions.

    Iteration yields batches ``(pairs, clips)``: arrays (n, length, h, w[, c]) and the index of the clip of each
    sequence, which can be passed to `GroupKFold` as groups. Frames are read one by one, so a long video is never held
    in memory. Each iteration yields the same sequences. A sequence never spans two clips, or a frame that cannot be
    read.

    Parameters
    ----------
    source : path, array of shape (n_frames, h, w[, c]), or list
        A video file; a folder, in which each video (or GIF) and each folder of images, in natural order, is a clip; an
        array of integers 0-255 or floats 0-1, which may be memory-mapped; or a list of these. A list of image files is
        one clip, in the order of the list. Videos require the extra "video", images the extra "image".
    length : int, default=2
        Number of frames in a sequence.
    step : int, default=1
        Distance between consecutive frames of a sequence. Larger steps give less similar frames.
    patch_size : int, (height, width) or None, default=None
        Size of patches, which have the same position in all frames of a sequence. None takes whole frames.
    n_pairs : int or None, default=None
        Total number of sequences, distributed evenly over the frames of all clips. None takes ``pairs_per_frame``.
    pairs_per_frame : float, default=1
        Number of sequences that begin at each frame; below 1, the probability of one. Whole frames give at most one.
    image_size : int, (height, width) or None, default=None
        Size to which frames are resized before patches are cropped; an int is the shorter side. None does not resize.
    grayscale : bool, default=False
        Convert frames to greyscale, (h, w).
    min_change : float, default=0
        Minimum mean change of a pixel (0-1) between consecutive frames of the crop. Sequences below are static. 0.01
        excludes sequences in which only codec noise changes.
    max_change : float, default=1
        Maximum mean change of a pixel (0-1) between consecutive whole frames. A larger change is treated as a cut.
    min_contrast : float, default=0
        Minimum standard deviation of the pixels (0-1) of each frame of the crop. Sequences below are black or of
        uniform colour.
    batch_size : int, default=256
        Number of sequences in a batch.
    on_error : {"warn", "raise"}, default="warn"
        Action for a clip, or part of it, that cannot be read. "warn" warns at the end of the clip, and continues with
        the readable frames.
    random_state : int, RandomState or None, default=None
        Seeds positions and frames. The seed is drawn once, when the object is created.

    Attributes
    ----------
    clip_names : list of str
        File, folder or number of each clip.
    failed : list of (str, str)
        Name of the clip and reason of each failure of the last iteration.

    Raises
    ------
    FileNotFoundError
        If the file or folder does not exist.
    ValueError
        If the source contains no frames. On iteration: if there is no pair at all, if frames differ in size between
        clips, and, with ``on_error="raise"``, if a frame cannot be read.
    ImportError
        If an extra is missing; the message names it.

    Notes
    -----
    ``len`` is the number of batches. It raises a TypeError if this number depends on filters or chance. With filters,
    positions are drawn until the requested number is found, as long as one of 16 passes. With ``n_pairs``, later frames
    compensate for sequences missing in earlier ones; a warning is issued if there are fewer in total.

    Pairs are ordered by clip and time. The order does not matter to estimators that accumulate moments. For stochastic
    gradient descent, shuffle the pairs first (`frame_pairs`).

    With a variable frame rate, frames are consecutive in display order. Rotation and mirroring in the header of a video
    are applied.

    References
    ----------
    S. Sukhbaatar, T. Makino, K. Aihara: Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences, 2013; section 2 and figures 3 and 7.

    Examples
    --------
    To train a model batch by batch on features of pairs, transform all frames and restore the pairs:

    >>> import numpy as np
    >>> from sklearn.random_projection import GaussianRandomProjection
    >>> from sklinvariant.datasets import VideoPairs
    >>> video = np.random.default_rng(0).integers(0, 256, (20, 48, 64), dtype=np.uint8)
    >>> stream = VideoPairs([video, video[:6]], patch_size=16, pairs_per_frame=4, batch_size=40, random_state=0)
    >>> extractor = GaussianRandomProjection(5, random_state=0).fit(np.zeros((1, 256)))
    >>> for pairs, clips in stream:
    ...     features = extractor.transform(pairs.reshape(-1, 256)).reshape(len(pairs), 2, -1)
    ...     print(pairs.shape, features.shape, np.bincount(clips))  # and: model.partial_fit(features)
    (40, 2, 16, 16) (40, 2, 5) [40]
    (40, 2, 16, 16) (40, 2, 5) [36  4]
    (16, 2, 16, 16) (16, 2, 5) [ 0 16]
    """

    @validated
    def __init__(
        self,
        source: Any,
        *,
        length: Annotated[int, integers(2)] = 2,
        step: Count = 1,
        patch_size: Count | tuple | list | None = None,
        n_pairs: Count | None = None,
        pairs_per_frame: Positive = 1,
        image_size: Count | tuple | list | None = None,
        grayscale: bool = False,
        min_change: Share = 0,
        max_change: Share = 1,
        min_contrast: Share = 0,
        batch_size: Count = 256,
        on_error: Literal["warn", "raise"] = "warn",
        random_state: RandomState = None,
    ) -> None:
        self.clips = find_clips(source)
        self.clip_names = [clip.name for clip in self.clips]
        self.failed: list[tuple[str, str]] = []
        self.length, self.step = length, step
        self.patch_size = None if patch_size is None else _size_pair(patch_size, "patch_size")
        self.n_pairs, self.pairs_per_frame = n_pairs, pairs_per_frame
        self.image_size = _size_pair(image_size, "image_size") if isinstance(image_size, (tuple, list)) else image_size
        self.grayscale = grayscale
        self.min_change, self.max_change, self.min_contrast = min_change, max_change, min_contrast
        self.batch_size = batch_size
        self.on_error = on_error
        self.seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)

    def __len__(self) -> int:
        if self._filters or self.max_change < 1:
            raise TypeError("the number of pairs that pass the filters is not known in advance. Iterate instead.")
        whole = self.patch_size is None
        if self.n_pairs is not None:
            n = min(self.n_pairs, sum(self._n_windows)) if whole else self.n_pairs
        elif self.pairs_per_frame % 1 and not (whole and self.pairs_per_frame > 1):
            raise TypeError("the number of pairs is random if pairs_per_frame is not an integer. Iterate instead.")
        else:
            n = sum(self._n_windows) * (1 if whole else int(self.pairs_per_frame))
        return math.ceil(n / self.batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.failed = []
        pairs, clips, kind = [], [], None
        for clip, drawn in self._drawn():
            if kind is not None and kind != (drawn.shape[2:], drawn.dtype):
                raise ValueError(
                    f"{self.clip_names[clip]} has frames of shape {drawn.shape[2:]} and dtype {drawn.dtype}, but "
                    f"earlier clips have {kind[0]}, {kind[1]}. Set image_size or patch_size (and grayscale)."
                )
            kind = drawn.shape[2:], drawn.dtype
            for pair in drawn:
                pairs.append(pair)
                clips.append(clip)
                if len(pairs) == self.batch_size:
                    yield np.stack(pairs), np.array(clips)
                    pairs, clips = [], []
        if pairs:
            yield np.stack(pairs), np.array(clips)

    @property
    def _filters(self):
        return self.min_change > 0 or self.min_contrast > 0

    @cached_property
    def _n_windows(self):
        """Number of sequences in each clip."""
        return [max(0, clip.n_frames() - (self.length - 1) * self.step) for clip in self.clips]

    def _drawn(self):
        """Yield (index of the clip, array of sequences) in temporal order."""
        rng = np.random.RandomState(self.seed)
        taken = 0
        for i, clip in enumerate(self.clips):
            left = 0 if self.n_pairs is None else sum(self._n_windows[i:])
            for window in self._windows(clip):
                rate = self.pairs_per_frame if self.n_pairs is None else (self.n_pairs - taken) / max(left, 1)
                drawn = self._draw(window, int(rate + rng.random_sample()), rng)
                taken, left = taken + len(drawn), left - 1
                if len(drawn):
                    yield i, np.stack(drawn)
                if taken == self.n_pairs:
                    return
        if taken == 0:
            reasons = "".join(f"; {name} {reason}" for name, reason in self.failed[:3])
            raise ValueError(
                f"no pair in {len(self.clips)} clip(s). All clips are too short, or fail the filters{reasons}"
            )
        if self.n_pairs is not None:
            warn(f"the clips contain only {taken} pairs, fewer than n_pairs={self.n_pairs}")

    def _windows(self, clip):
        """Yield a list of ``length`` frames for each starting frame."""
        span = (self.length - 1) * self.step + 1
        window: deque[np.ndarray] = deque(maxlen=span)
        failures = []
        for frame in clip.frames():
            frame = frame if isinstance(frame, ValueError) else self._prepare(frame)
            if isinstance(frame, ValueError):
                if self.on_error == "raise":
                    raise ValueError(f"{clip.name}: {frame}") from frame
                failures.append(str(frame))
                window.clear()
                continue
            if window and (frame.shape != window[-1].shape or self._is_cut(window[-1], frame)):
                window.clear()
            window.append(frame)
            if len(window) == span:
                yield list(window)[:: self.step]
        self.failed += [(clip.name, failure) for failure in failures]
        if failures:
            more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
            warn(f"{clip.name}: {failures[0]}{more}. These frames are skipped")

    def _prepare(self, frame):
        """The resized frame in its own dtype, or a ValueError with the reason why it cannot be used."""
        if self.grayscale and frame.ndim == 3 and frame.shape[2] not in (1, 3):
            return ValueError(f"has frames of {frame.shape[2]} channels, but grayscale requires 1 or 3")
        if self.image_size is not None:
            frame = _resize(frame, self.image_size)
        if self.patch_size is not None and (np.array(frame.shape[:2]) < self.patch_size).any():
            return ValueError(f"has frames of {frame.shape[:2]} pixels, smaller than patch_size={self.patch_size}")
        return frame

    def _is_cut(self, before, after):
        if self.max_change == 1:
            return False
        every = max(1, min(after.shape[:2]) // 64)  # a grid of pixels is sufficient
        return _changes(np.stack([before, after])[None, :, ::every, ::every])[0, 0] > self.max_change

    def _draw(self, window, count, rng):
        """At most ``count`` sequences of a window that pass the filters."""
        if self.patch_size is None:
            whole = self._cut([window]) if count else []
            return [sequence for sequence in whole if self._passes(whole)[0]]
        found: list[np.ndarray] = []
        (height, width), room = self.patch_size, np.array(window[0].shape[:2]) - self.patch_size + 1
        while len(found) < count:
            missing = count - len(found)
            tries = min(max(missing, _PLACES), 1024) if self._filters else missing
            places = (rng.random_sample((tries, 2)) * room).astype(int)
            patches = self._cut([[f[y : y + height, x : x + width] for f in window] for y, x in places])
            passing = patches[self._passes(patches)][:missing]
            if not len(passing):
                break
            found.extend(passing)
        return found

    def _cut(self, sequences):
        """Sequences as one array (n, l, h, w[, c]), converted to grey if requested."""
        sequences = np.stack(sequences)
        return _grey(sequences) if self.grayscale and sequences.ndim == 5 else sequences

    def _passes(self, sequences):
        """Which sequences (n, l, h, w[, c]) are neither static nor uniform."""
        good = np.ones(len(sequences), bool)
        if self.min_change > 0:
            good &= (_changes(sequences) >= self.min_change).all(1)
        if self.min_contrast > 0:
            pixels = _unit_range(sequences).reshape(*sequences.shape[:2], -1)
            good &= (pixels.std(2) >= self.min_contrast).all(1)
        return good


@documented_by(VideoPairs)
def frame_pairs(
    source: Any,
    *,
    length: int = 2,
    step: int = 1,
    patch_size: int | tuple | list | None = None,
    n_pairs: int | None = None,
    pairs_per_frame: float = 1,
    image_size: int | tuple | list | None = None,
    grayscale: bool = False,
    min_change: float = 0,
    max_change: float = 1,
    min_contrast: float = 0,
    on_error: Literal["warn", "raise"] = "warn",
    random_state: RandomState = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs, or short sequences, of consecutive frames as one array.

    `VideoPairs` has the same parameters and streams what does not fit into memory.

    Returns
    -------
    pairs : ndarray of shape (n_pairs, length, h, w[, c])
        uint8 0-255 for videos, images and integers, else float64 or float32.
    groups : ndarray of shape (n_pairs,)
        Index of the clip of each pair, which can be passed to ``GroupKFold``.

    Raises
    ------
    FileNotFoundError
        If the file or folder does not exist.
    ValueError
        If the source contains no frames or no pair at all, if frames differ in size between clips, or, with
        ``on_error="raise"``, if a frame cannot be read.
    ImportError
        If an extra is missing; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.datasets import frame_pairs
    >>> clips = np.random.default_rng(0).random((2, 10, 24, 32))
    >>> pairs, groups = frame_pairs(list(clips), n_pairs=100, patch_size=16, random_state=0)
    >>> pairs.shape, np.unique(groups)
    ((100, 2, 16, 16), array([0, 1]))
    """
    stream = VideoPairs(
        source,
        length=length,
        step=step,
        patch_size=patch_size,
        n_pairs=n_pairs,
        pairs_per_frame=pairs_per_frame,
        image_size=image_size,
        grayscale=grayscale,
        min_change=min_change,
        max_change=max_change,
        min_contrast=min_contrast,
        on_error=on_error,
        random_state=random_state,
    )
    pairs, groups = zip(*stream, strict=True)
    return np.concatenate(pairs), np.concatenate(groups)


def _resize(frame, size):
    """Resize a frame, with antialiasing; ``size`` is (h, w) or the length of the shorter side."""
    if isinstance(size, Integral):
        scale = size / min(frame.shape[:2])
        size = tuple(round(length * scale) for length in frame.shape[:2])
    if frame.shape[:2] == size:
        return frame
    planes = torch.from_numpy(frame if frame.ndim == 3 else frame[..., None]).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0).numpy().reshape(*size, *frame.shape[2:])


def _grey(pixels):
    """Convert pixels (..., c) to grey values (...) of the same dtype."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    grey = pixels @ _LUMA.astype(np.float64 if pixels.dtype == np.float64 else np.float32)
    return (grey + 0.5 if pixels.dtype == np.uint8 else grey).astype(pixels.dtype)


def _changes(sequences):
    """Mean absolute change of the pixels between consecutive frames, in 0-1: (n, l, h, w[, c]) -> (n, l - 1)."""
    changes = np.abs(np.diff(_unit_range(sequences), axis=1))
    return changes.reshape(*changes.shape[:2], -1).mean(2)


def _unit_range(pixels):
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels


def _size_pair(size, name):
    pair = (size, size) if isinstance(size, Integral) else tuple(size)
    if len(pair) != 2 or not all(map(is_count, pair)):
        raise ValueError(f"{name} must be a positive integer, or a pair (height, width) of them, got {size!r}")
    return pair
