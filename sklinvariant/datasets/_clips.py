"""Sources of frames: a video file, a sequence of image files, an array.

A clip has a ``name``, counts its frames (``n_frames``; for a video, the number in its header) and yields them
(``frames``) as upright arrays (h, w[, c]) in temporal order. For a frame that cannot be read, it yields a ValueError
with the reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklinvariant.base import need_extra, to_numpy
from sklinvariant.images import IMAGE_SUFFIXES, check_pixels, read_image, scale_pixels

MOVING = {f".{ending}" for ending in ("gif", "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts")}
MOVING |= {".m2ts", ".ogv", ".wmv", ".flv", ".3gp"}
STILL = IMAGE_SUFFIXES - MOVING


def find_clips(source: Any) -> list[VideoClip | ImageClip | ArrayClip]:
    """The clips of a video file, a folder, a list of image files, an array, or a list of any of these."""
    if isinstance(source, (str, os.PathLike)):
        return _clips_at(Path(source))
    if isinstance(source, (list, tuple)):
        if source and all(_is_image_file(item) for item in source):
            return [ImageClip(source)]
        clips = [clip for item in source for clip in find_clips(item)]
        for i, clip in enumerate(clips):
            if isinstance(clip, ArrayClip):
                clip.name = f"clip {i}"
        if not clips:
            raise ValueError("source is an empty list. Pass at least one video file, folder, array or image file.")
        return clips
    if not isinstance(source, torch.Tensor):
        source = to_numpy(source)
    if not hasattr(source, "shape"):
        raise ValueError(
            f"source has type {type(source).__name__}, but a video file, a folder, an array (n, h, w[, c]), a list of "
            "these, or a list of image files is required. Convert the source to one of these."
        )
    return [ArrayClip(source)]


class VideoClip:
    """The RGB frames of the first video stream of a file, decoded by PyAV."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.name = os.fspath(path)

    def n_frames(self) -> int:
        av = need_extra("av", "reading a video", "video")
        count = 0
        try:
            with av.open(self.name) as container:
                stream = container.streams.video[0]
                if stream.frames:
                    return stream.frames
                for packet in container.demux(stream):  # without a number in the header: count, but do not decode
                    count += packet.size > 0
        except (av.FFmpegError, OSError, IndexError):
            pass  # `frames` reports the error
        return count

    def frames(self) -> Iterator[np.ndarray | ValueError]:
        av = need_extra("av", "reading a video", "video")
        try:
            with av.open(self.name, metadata_errors="ignore") as container:
                if not container.streams.video:
                    raise ValueError("contains no video stream")
                yield from _decode(container, av.FFmpegError)
        except (av.FFmpegError, OSError) as error:
            yield ValueError(f"cannot be read ({getattr(error, 'strerror', error)})")
        except ValueError as error:
            yield error


class ImageClip:
    """Image files, one for each frame, in the order of the list."""

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        self.paths = [os.fspath(path) for path in paths]
        self.name = os.path.dirname(self.paths[0]) or self.paths[0]

    def n_frames(self) -> int:
        return len(self.paths)

    def frames(self) -> Iterator[np.ndarray | ValueError]:
        for path in self.paths:
            try:
                yield read_image(path)
            except ValueError as error:
                yield error


class ArrayClip:
    """An array (n, h, w[, c]), read one frame at a time, so that it may be memory-mapped."""

    def __init__(self, array: Any, name: str = "clip 0") -> None:
        if array.ndim not in (3, 4) or 0 in array.shape[1:]:
            raise ValueError(
                f"source is an array of shape {tuple(array.shape)}, but (n, h, w[, c]) is required. Reshape the array."
            )
        self.array, self.name = array, name

    def n_frames(self) -> int:
        return len(self.array)

    def frames(self) -> Iterator[np.ndarray | ValueError]:
        for i in range(len(self.array)):
            frame = self.array[i : i + 1]
            try:
                frame = check_pixels(frame if isinstance(frame, torch.Tensor) else np.array(frame), first=i)
            except ValueError as error:
                yield error
            else:
                yield (scale_pixels(frame) if frame.is_floating_point() else frame)[0].cpu().numpy()


def _decode(container, errors):
    stream = container.streams.video[0]
    start, end = None, 0.0
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except errors as error:  # later packets can still be decoded
            yield ValueError(f"a frame cannot be decoded ({error})")
            continue
        for frame in decoded:
            if frame.is_corrupt:
                yield ValueError("a frame is damaged")
                continue
            if frame.time is not None:
                start = frame.time if start is None else start
                end = frame.time - start + float((packet.duration or 0) * stream.time_base)
            yield _oriented(frame)
    length = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    # decoders raise no error when the data ends early; durations in headers are not exact
    if length - end > max(0.5, 0.05 * length):
        yield ValueError(f"ends early, after {end:.1f} of {length:.1f} seconds")


def _oriented(frame):
    """A decoded frame as RGB, rotated and mirrored by its display matrix: x' = a x + c y, y' = b x + d y."""
    image = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
    if abs(a) >= abs(b):
        down, right = d, a
    else:
        image, down, right = image.swapaxes(0, 1), b, c
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _clips_at(path):
    if path.is_dir():
        clips = list(_clips_in(path))
        if not clips:
            raise ValueError(f"{path} contains no videos and no images. Pass a folder that contains some.")
        return clips
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Pass the path of an existing file or folder.")
    if _is_image_file(path):
        raise ValueError(
            f"{path} is a single image, but a clip is required. Pass its folder, or a list of image files in temporal "
            "order."
        )
    return [VideoClip(path)]


def _clips_in(folder):
    """Folders of images and video files, outer folders first, in natural order."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=_natural)
        paths = [Path(place, name) for name in sorted(files, key=_natural) if not name.startswith(".")]
        images = [path for path in paths if _is_image_file(path)]
        if images:
            yield ImageClip(images)
        yield from (VideoClip(path) for path in paths if path.suffix.lower() in MOVING)


def _is_image_file(item):
    return isinstance(item, (str, os.PathLike)) and Path(item).suffix.lower() in STILL


def _natural(name):
    """Sort key that places 9.png before 10.png."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", name)]
