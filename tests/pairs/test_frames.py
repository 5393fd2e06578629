"""Consecutive rows, and batches of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklinvariant.pairs._frames import consecutive_mask

CLIPS = ["a", "a", "b", "c", "c", "c"]
EXPECTED = [True, False, False, True, True]


@pytest.mark.parametrize(
    "groups",
    [
        CLIPS,
        np.array(CLIPS),
        np.array(CLIPS, dtype=object),
        pd.Series(CLIPS, index=range(6, 0, -1)),
        [7, 7, -1, 3, 3, 3],
        torch.tensor([7, 7, -1, 3, 3, 3]),
        np.array([0.5, 0.5, 1, 2, 2, 2]),
        np.array(["a", "a", 1, None, None, None], dtype=object),
    ],
)
def test_clips(groups):
    assert consecutive_mask(groups, 6).tolist() == EXPECTED


def test_no_groups_is_one_clip():
    assert consecutive_mask(None, 3).tolist() == [True, True]
    assert consecutive_mask(None, 1).tolist() == []
    assert consecutive_mask(["a"], 1).tolist() == []


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", "a", "b", "a"], "clip 'a' begins in row 0 and comes back in row 3"),
        ([1, 2, 3, 2], "clip 2 begins in row 1 and comes back in row 3"),
        ([1, 1, 1], "3 clip ids for 4 frames"),
        ([[1], [1], [1], [1]], r"shape \(n,\)"),
        ([1, 1, np.nan, 2], "nan instead of a clip id in row 2"),
    ],
)
def test_wrong_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        consecutive_mask(groups, 4)
