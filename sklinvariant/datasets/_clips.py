"""Where frames come from, one after the other: a video file, a sequence of pictures, an array.

A clip has a ``name``, counts its frames (``n_frames``, of a video what its header says) and gives them (``frames``) as
arrays (h, w[, c]), upright, in the order of time. In the place of a frame that cannot be read it gives the ValueError
that says why.
"""

import os
import re
from pathlib import Path

import numpy as np
import torch

from sklinvariant.base import to_numpy
from sklinvariant.images import IMAGE_SUFFIXES, check_pixels, need_extra, read_image, scale_pixels

MOVING = {f".{ending}" for ending in ("gif", "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts")}
MOVING |= {".m2ts", ".ogv", ".wmv", ".flv", ".3gp"}
STILL = IMAGE_SUFFIXES - MOVING


def find_clips(source):
    """The clips of a video file, of a folder, of a list of pictures, of an array, or of a list of those."""
    if isinstance(source, (str, os.PathLike)):
        return _clips_at(Path(source))
    if isinstance(source, (list, tuple)):
        if source and all(_is_still(item) for item in source):
            return [PictureClip(source)]
        clips = [clip for item in source for clip in find_clips(item)]
        for i, clip in enumerate(clips):
            if isinstance(clip, ArrayClip):
                clip.name = f"clip {i}"
        if not clips:
            raise ValueError("the source is an empty list: there are no frames")
        return clips
    if not isinstance(source, torch.Tensor):
        source = to_numpy(source)
    if not hasattr(source, "shape"):
        raise ValueError(
            "source must be a video file, a folder, an array (n, h, w[, c]) or a list of those, or of pictures; got "
            f"{type(source).__name__}"
        )
    return [ArrayClip(source)]


class VideoClip:
    """The frames of the first video stream of a file, decoded by PyAV, as RGB."""

    def __init__(self, path):
        self.name = os.fspath(path)

    def n_frames(self):
        av = need_extra("av", "reading a video", "video")
        count = 0
        try:
            with av.open(self.name) as container:
                stream = container.streams.video[0]
                if stream.frames:
                    return stream.frames
                for packet in container.demux(stream):  # no header says it: the file is read, but not decoded
                    count += packet.size > 0
        except (av.FFmpegError, OSError, IndexError):
            pass  # whatever is wrong is told by who reads the frames
        return count

    def frames(self):
        av = need_extra("av", "reading a video", "video")
        try:
            with av.open(self.name, metadata_errors="ignore") as container:
                if not container.streams.video:
                    raise ValueError("holds no video")
                yield from _decode(container, av.FFmpegError)
        except (av.FFmpegError, OSError) as error:
            yield ValueError(f"cannot be read ({getattr(error, 'strerror', error)})")
        except ValueError as error:
            yield error


class PictureClip:
    """Pictures in files, one a frame, in the order of the list."""

    def __init__(self, paths):
        self.paths = [os.fspath(path) for path in paths]
        self.name = os.path.dirname(self.paths[0]) or self.paths[0]

    def n_frames(self):
        return len(self.paths)

    def frames(self):
        for path in self.paths:
            try:
                yield read_image(path)
            except ValueError as error:
                yield error


class ArrayClip:
    """An array (n, h, w[, c]), of which a frame at a time is read: it may be memory-mapped."""

    def __init__(self, array, name="clip 0"):
        if array.ndim not in (3, 4) or 0 in array.shape[1:]:
            raise ValueError(f"an array of frames must be of shape (n, h, w[, c]), got {tuple(array.shape)}")
        self.array, self.name = array, name

    def n_frames(self):
        return len(self.array)

    def frames(self):
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
        except errors as error:  # the packets after it can be read
            yield ValueError(f"a frame cannot be decoded ({error})")
            continue
        for frame in decoded:
            if frame.is_corrupt:
                yield ValueError("a frame is damaged")
                continue
            if frame.time is not None:
                start = frame.time if start is None else start
                end = frame.time - start + float((packet.duration or 0) * stream.time_base)
            yield _upright(frame)
    length = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    # decoders end quietly where the data ends; times in headers are not exact
    if length - end > max(0.5, 0.05 * length):
        yield ValueError(f"breaks off after {end:.1f} of {length:.1f} seconds")


def _upright(frame):
    """A decoded frame as RGB, turned and mirrored as its display matrix says: x' = a x + c y, y' = b x + d y."""
    picture = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
    if abs(a) >= abs(b):
        down, right = d, a
    else:
        picture, down, right = picture.swapaxes(0, 1), b, c
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _clips_at(path):
    if path.is_dir():
        clips = list(_clips_in(path))
        if not clips:
            raise ValueError(f"{path} holds no videos and no pictures")
        return clips
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if _is_still(path):
        raise ValueError(f"{path} is one picture: give its folder, or a list of pictures in the order of time")
    return [VideoClip(path)]


def _clips_in(folder):
    """Folders of pictures and video files, from the outermost folder in, in natural order."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=_natural)
        paths = [Path(place, name) for name in sorted(files, key=_natural) if not name.startswith(".")]
        pictures = [path for path in paths if _is_still(path)]
        if pictures:
            yield PictureClip(pictures)
        yield from (VideoClip(path) for path in paths if path.suffix.lower() in MOVING)


def _is_still(item):
    return isinstance(item, (str, os.PathLike)) and Path(item).suffix.lower() in STILL


def _natural(name):
    """Sorts 9.png before 10.png."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", name)]
