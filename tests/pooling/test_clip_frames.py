"""Frames of clips: which follow each other, and clips that go on in a later call."""

import numpy as np
import torch

from sklinvariant.base import FrameReader, RowReader
from sklinvariant.pooling import SlowFeatures
from sklinvariant.pooling._clip_frames import clip_frames

ROWS = np.arange(12.0).reshape(6, 2)


def frames_of(X, groups=None, earlier=None):
    given = FrameReader(RowReader()).read(SlowFeatures(), X, reset=True)
    return clip_frames(given, groups, earlier, "SlowFeatures")


def test_rows_and_pairs():
    assert frames_of(ROWS).follows.tolist() == [True] * 5
    assert frames_of(ROWS, groups=[0, 0, 1, 1, 1, 2]).follows.tolist() == [True, False, True, True, False]
    pairs = frames_of(ROWS.reshape(3, 2, 2))
    assert pairs.follows.tolist() == [True, False, True, False, True]
    assert pairs.kept["last_frame"] is None


def test_a_clip_goes_on():
    earlier = frames_of(ROWS, groups=["a"] * 3 + ["b"] * 3).kept
    assert earlier["last_frame"].tolist() == [[10, 11]]
    later = frames_of(ROWS, groups=["b"] * 2 + ["c"] * 4, earlier=earlier)
    assert torch.equal(later.rows, torch.tensor([[10.0, 11], *ROWS.tolist()], dtype=torch.float64))
    assert later.follows.tolist() == [True, True, False, True, True, True]
    assert len(frames_of(ROWS, groups=["c"] * 6, earlier=earlier).rows) == 6
    assert len(frames_of(ROWS, earlier=earlier).rows) == 6  # each call without groups is a clip of its own
