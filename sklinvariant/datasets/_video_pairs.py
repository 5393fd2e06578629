"""Pairs of consecutive frames, the source of sameness of auto-pooling (section 2 of Sukhbaatar, Makino, Aihara 2013).

Axes: n sequences, l frames of a sequence, h×w pixels, c channels.
"""

import math
import warnings
from collections import deque
from functools import cached_property
from numbers import Integral
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklinvariant.base import Count, Positive, RandomState, Share, integers, is_count, validated
from sklinvariant.datasets._clips import find_clips

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_PLACES = 16  # are looked at for one patch before a frame is given up


class VideoPairs:
    """Streams pairs, or short sequences, of consecutive frames: whole, or as patches at random places.

    Iterating gives ``(pairs, clips)``, batch by batch: arrays (n, length, h, w[, c]) and the number of the clip of
    each, by which `GroupKFold` keeps clips apart. Frames are read one by one, so a long video is never in memory;
    iterating again gives the same again. No sequence goes from one clip to the next, or over a frame that could not
    be read.

    Parameters
    ----------
    source : path, array of shape (n_frames, h, w[, c]), or list
        A video file; a folder, in which each video (GIFs too) and each folder of pictures, in natural order, is a clip;
        an array, of whole numbers 0-255 or floats 0-1, memory-mapped ones too; or a list of those. A list of files of
        pictures is one clip, in the order of the list. Videos need the extra "video", pictures the extra "image".
    length : int, default=2
        Frames of a sequence.
    step : int, default=1
        From a frame of a sequence to its next, in frames; more makes what is to look alike more different.
    patch_size : int, (height, width) or None, default=None
        Of patches, which lie at the same place in all frames of a sequence; None takes whole frames.
    n_pairs : int or None, default=None
        Sequences in all, spread evenly over the frames of all clips; None takes ``pairs_per_frame``.
    pairs_per_frame : float, default=1
        Sequences that begin at a frame; below 1 it is the chance of one. Of whole frames there is one at most.
    size : int, (height, width) or None, default=None
        Frames are resized to this before patches are cut; an int is the shorter side. None leaves them as they are.
    grayscale : bool, default=False
        Frames are made grey, (h, w).
    min_change : float, default=0
        Least mean change of a pixel (0-1) from a frame to its next, in what was cut: sequences below are static.
        0.01 leaves out what only the noise of a codec moves.
    max_change : float, default=1
        Most mean change of a pixel (0-1) from a whole frame to the one after it: where it is larger, there is a cut.
    min_contrast : float, default=0
        Least standard deviation of the pixels (0-1) of each frame, in what was cut: sequences below are black, or all
        of one colour.
    batch_size : int, default=256
        Sequences a batch.
    on_error : {"warn", "raise"}, default="warn"
        What is done about a clip, or a part of it, that cannot be read: "warn" names it when the clip is over, and goes
        on with what can be read.
    random_state : int, RandomState or None, default=None
        Chooses places and frames, once, when the object is made.

    Attributes
    ----------
    clip_names : list of str
        File, folder or number of each clip.
    failed : list of (str, str)
        Name of the clip and reason of each failure of the last iteration.

    Raises
    ------
    FileNotFoundError
        Where there is no such file or folder.
    ValueError
        Where the source holds no frames; when iterated, where there is no pair in all of it, where frames differ in
        size from clip to clip, and, with ``on_error="raise"``, where something cannot be read.
    ImportError
        Names the extra that is missing.

    Notes
    -----
    ``len`` is the number of batches, and a TypeError where only the filters, or chance, will tell. With filters, places
    are drawn anew until the wanted number is found, as long as one of 16 passes; ``n_pairs`` makes up in later frames
    for what earlier ones do not give, and a warning tells where there were fewer in all.

    Pairs come clip by clip, in the order of time. That does not matter to what adds up moments; for descent by batches,
    mix them first (`frame_pairs`).

    Frames of variable rate are consecutive as they are shown. Turning and mirroring that a video's header asks for are
    done.

    References
    ----------
    S. Sukhbaatar, T. Makino, K. Aihara: Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences, 2013; section 2 and figures 3 and 7.

    Examples
    --------
    A model that learns from features of pairs, batch by batch, is given features of all frames, put back in pairs:

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
        size: Count | tuple | list | None = None,
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
        self.failed: list = []
        self.length, self.step = length, step
        self.patch_size = None if patch_size is None else _two(patch_size, "patch_size")
        self.n_pairs, self.pairs_per_frame = n_pairs, pairs_per_frame
        self.size = size if size is None or isinstance(size, Integral) else _two(size, "size")
        self.grayscale = grayscale
        self.min_change, self.max_change, self.min_contrast = min_change, max_change, min_contrast
        self.batch_size = batch_size
        self.on_error = on_error
        self.seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)

    def __len__(self):
        if self._filters or self.max_change < 1:
            raise TypeError("how many pairs pass the filters is not known before they are read")
        whole = self.patch_size is None
        if self.n_pairs is not None:
            n = min(self.n_pairs, sum(self._n_windows)) if whole else self.n_pairs
        elif self.pairs_per_frame % 1 and not (whole and self.pairs_per_frame > 1):
            raise TypeError("how many pairs there are is left to chance where pairs_per_frame is no whole number")
        else:
            n = sum(self._n_windows) * (1 if whole else int(self.pairs_per_frame))
        return math.ceil(n / self.batch_size)

    def __iter__(self):
        self.failed = []
        pairs, clips, kind = [], [], None
        for clip, drawn in self._drawn():
            if kind is not None and kind != (drawn.shape[2:], drawn.dtype):
                raise ValueError(
                    f"{self.clip_names[clip]}: frames of shape {drawn.shape[2:]} and type {drawn.dtype}, but before "
                    f"they were {kind[0]}, {kind[1]}: give size or patch_size, and grayscale where some are grey"
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
        """How many sequences begin in each clip."""
        return [max(0, clip.n_frames() - (self.length - 1) * self.step) for clip in self.clips]

    def _drawn(self):
        """(number of the clip, array of (a few) sequences), as they come."""
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
            raise ValueError(f"no pair in {len(self.clips)} clips: all are too short, or fail the filters{reasons}")
        if self.n_pairs is not None:
            warnings.warn(f"there were {taken} pairs only, not n_pairs={self.n_pairs}", stacklevel=3)

    def _windows(self, clip):
        """Lists of ``length`` frames, beginning at one frame after the other."""
        span = (self.length - 1) * self.step + 1
        window, failures = deque(maxlen=span), []
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
            warnings.warn(f"{clip.name}: {failures[0]}{more}; what can be read is used", stacklevel=4)

    def _prepare(self, frame):
        """Resized, in the type it came in; or the ValueError that says why it cannot be used."""
        if self.grayscale and frame.ndim == 3 and frame.shape[2] not in (1, 3):
            return ValueError(f"has frames of {frame.shape[2]} channels, of which grayscale makes nothing")
        if self.size is not None:
            frame = _resize(frame, self.size)
        if self.patch_size is not None and (np.array(frame.shape[:2]) < self.patch_size).any():
            return ValueError(f"has frames of {frame.shape[:2]} pixels, smaller than patch_size={self.patch_size}")
        return frame

    def _is_cut(self, before, after):
        if self.max_change == 1:
            return False
        every = max(1, min(after.shape[:2]) // 64)  # a grid of pixels tells as much as all of them
        return _changes(np.stack([before, after])[None, :, ::every, ::every])[0, 0] > self.max_change

    def _draw(self, window, count, rng):
        """At most ``count`` sequences of a window that pass the filters."""
        if self.patch_size is None:
            whole = self._cut([window]) if count else []
            return [sequence for sequence in whole if self._passes(whole)[0]]
        found = []
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
        """Sequences as one array (n, l, h, w[, c]), grey where asked: fewer pixels than the frames have."""
        sequences = np.stack(sequences)
        return _grey(sequences) if self.grayscale and sequences.ndim == 5 else sequences

    def _passes(self, sequences):
        """Which of (n, l, h, w[, c]) are neither static nor of one colour."""
        good = np.ones(len(sequences), bool)
        if self.min_change > 0:
            good &= (_changes(sequences) >= self.min_change).all(1)
        if self.min_contrast > 0:
            pixels = _unit_range(sequences).reshape(*sequences.shape[:2], -1)
            good &= (pixels.std(2) >= self.min_contrast).all(1)
        return good


def frame_pairs(
    source,
    *,
    length=2,
    step=1,
    patch_size=None,
    n_pairs=None,
    pairs_per_frame=1,
    size=None,
    grayscale=False,
    min_change=0,
    max_change=1,
    min_contrast=0,
    on_error="warn",
    random_state=None,
):
    """Pairs, or short sequences, of consecutive frames as one array.

    Parameters
    ----------
    source : path, array of shape (n_frames, h, w[, c]), or list
        As all other parameters, see `VideoPairs`, which streams what is too much for memory.
    length, step, patch_size, n_pairs, pairs_per_frame, size, grayscale, min_change, max_change, min_contrast
        Which frames, how many, and what of them.
    on_error : {"warn", "raise"}, default="warn"
        About what cannot be read.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    pairs : ndarray of shape (n_pairs, length, h, w[, c])
        uint8 0-255 from videos, pictures and whole numbers, else float64 or float32.
    groups : ndarray of shape (n_pairs,)
        The number of the clip of each pair: ``groups`` of ``GroupKFold``.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        As `VideoPairs`.

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
        size=size,
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
    """Averages where it shrinks; ``size`` is (h, w) or the shorter side."""
    if isinstance(size, Integral):
        scale = size / min(frame.shape[:2])
        size = tuple(round(length * scale) for length in frame.shape[:2])
    if frame.shape[:2] == size:
        return frame
    planes = torch.from_numpy(frame if frame.ndim == 3 else frame[..., None]).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0).numpy().reshape(*size, *frame.shape[2:])


def _grey(pixels):
    """(..., c) -> (...), in its type."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    grey = pixels @ _LUMA.astype(np.float64 if pixels.dtype == np.float64 else np.float32)
    return (grey + 0.5 if pixels.dtype == np.uint8 else grey).astype(pixels.dtype)


def _changes(sequences):
    """Mean absolute change of a pixel from each frame to the next: (n, l, h, w[, c]) -> (n, l - 1), 0-1."""
    changes = np.abs(np.diff(_unit_range(sequences), axis=1))
    return changes.reshape(*changes.shape[:2], -1).mean(2)


def _unit_range(pixels):
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels


def _two(size, name):
    pair = (size, size) if isinstance(size, Integral) else tuple(size)
    if len(pair) != 2 or not all(map(is_count, pair)):
        raise ValueError(f"{name} must be a positive integer or two of them, (height, width), got {size!r}")
    return pair
