"""Synthetic clips: a camera that moves over two photographs."""

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from sklearn.utils import check_random_state

from sklinvariant._settings import with_own_settings
from sklinvariant.base import RandomState
from sklinvariant.transforms import warp

_CALM = 8  # number of times that the camera's speed is smoothed


@with_own_settings
def make_camera_clips(
    n_clips: int = 8, *, n_frames: int = 60, image_size: int = 48, random_state: RandomState = None
) -> list[np.ndarray]:
    """Clips of a camera that moves over scikit-learn's two sample photographs, rotates and zooms.

    Parameters
    ----------
    n_clips : int, default=8
        Number of clips. They alternate between the photographs.
    n_frames : int, default=60
        Frames in each clip.
    image_size : int, default=48
        Height and width of a frame in pixels, at most 200.
    random_state : int, RandomState or None, default=None
        Seed of the random camera paths.

    Returns
    -------
    list of n_clips uint8 arrays of shape (n_frames, image_size, image_size, 3)

    Raises
    ------
    ValueError
        If ``image_size`` is out of range.
    ImportError
        If Pillow, which reads the photographs, is not installed.

    Examples
    --------
    >>> from sklinvariant.datasets import frame_pairs, make_camera_clips
    >>> clips = make_camera_clips(2, n_frames=5, random_state=0)
    >>> pairs, groups = frame_pairs(clips)
    >>> pairs.shape, groups.tolist()
    ((8, 2, 48, 48, 3), [0, 0, 0, 0, 1, 1, 1, 1])
    """
    if not 1 <= image_size <= 200:
        raise ValueError(
            f"image_size={image_size!r} is out of range; sizes from 1 to 200 pixels are accepted. Change it."
        )
    rng = check_random_state(random_state)
    photographs = load_sample_images().images
    return [_clip(photographs[i % len(photographs)], n_frames, image_size, rng) for i in range(n_clips)]


def _clip(photograph, n_frames, size, rng):
    speed = rng.normal(size=(n_frames, 4))
    for _ in range(_CALM):
        speed = (speed + np.roll(speed, 1, 0) + np.roll(speed, -1, 0)) / 3
    right, down, angle, zoom = np.cumsum(speed * [2.5, 2.5, 0.03, 0.02], axis=0).T
    h, w = photograph.shape[:2]
    middle = np.array([w, h]) / 2 + rng.uniform(-1, 1, 2) * [w / 5, h / 7]
    places = np.clip(np.stack([right, down], axis=1) + middle, size, np.array([w, h]) - size).astype(int)
    # windows of twice the size, so that a rotated frame has no empty corners
    seen = np.stack([photograph[y - size : y + size, x - size : x + size] for x, y in places])
    turns = torch.zeros(n_frames, 3, 3, dtype=torch.float64)
    cosine, sine = (torch.from_numpy(np.exp(zoom) * part) for part in (np.cos(angle), np.sin(angle)))
    turns[:, 0, 0] = turns[:, 1, 1] = cosine
    turns[:, 1, 0], turns[:, 0, 1], turns[:, 2, 2] = sine, -sine, 1
    frames = warp(seen, turns, fill="edge")
    start = size // 2
    return (255 * frames[:, start : start + size, start : start + size]).round().astype(np.uint8)
