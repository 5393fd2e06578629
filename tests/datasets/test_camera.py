"""Clips of a moving camera: seeds, motion, and consecutive frames more similar than distant ones."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.datasets import make_camera_clips
from sklinvariant.metrics import invariance_score

pytest.importorskip("PIL", reason="scikit-learn reads its photographs with Pillow")


def test_clips():
    clips = make_camera_clips(3, n_frames=20, image_size=32, random_state=1)
    assert [(clip.shape, clip.dtype) for clip in clips] == [((20, 32, 32, 3), np.uint8)] * 3
    again = make_camera_clips(3, n_frames=20, image_size=32, random_state=1)
    assert_close(clips, again, atol=1)  # of 255, whole numbers
    assert (np.asarray(clips[0]) != make_camera_clips(1, n_frames=20, image_size=32, random_state=2)[0]).any()


def test_neighbours_in_time_look_alike():
    clip = make_camera_clips(1, n_frames=60, image_size=24, random_state=0)[0].reshape(60, -1) / 255
    change = np.abs(np.diff(clip, axis=0)).mean(1)
    assert change.min() > 0  # no frame stands still
    assert invariance_score(np.stack([clip[:-1], clip[1:]], axis=1), random_state=0) > 1.5


@pytest.mark.parametrize("size", [0, 201])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="is out of range; sizes from 1 to 200"):
        make_camera_clips(1, image_size=size)
