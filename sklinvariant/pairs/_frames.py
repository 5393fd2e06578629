"""Consecutive frames of clips: which rows follow each other, and a check of the temporal order."""

import math
from typing import Any

import numpy as np
import torch

from sklinvariant._warnings import warn
from sklinvariant.base import ArrayLike, to_numpy

UNIT_SAMPLE = 1024  # number of pairs from which a unit of length is estimated
_COMPARED = 512  # maximal number of rows that are compared with each other
_OPERATIONS = 1 << 27
_FEWEST = 32  # with fewer rows the test has no power
_SHUFFLED = 3.5  # standard deviations; one in 4000 shuffles is above, and clips of 33 frames are at about 8


def consecutive_mask(groups: ArrayLike, n: int) -> torch.Tensor:
    """Whether row i + 1 is the next frame of row i, i.e. both belong to the same clip: (n - 1,) bool.

    ``groups`` (n,) are clip ids of any type, or None for a single clip. Raises a ValueError if a clip continues after
    another clip, because the rows are then not in temporal order.
    """
    if groups is None:
        return torch.ones(n - 1, dtype=torch.bool)
    groups = clip_ids(groups)
    if len(groups) != n:
        raise ValueError(f"groups has {len(groups)} clip ids for {n} frames. Pass one clip id for each frame")
    same = np.asarray(groups[1:] == groups[:-1], dtype=bool)
    seen: dict[Any, int] = {}
    for row in [0, *(np.flatnonzero(~same) + 1)]:
        clip = groups[row : row + 1].tolist()[0]
        if clip in seen:
            raise ValueError(
                f"groups: clip {clip!r} begins in row {seen[clip]} and comes back in row {row} after another clip; "
                "the frames of a clip must be consecutive rows in temporal order"
            )
        seen[clip] = row
    return torch.from_numpy(same)


def warn_of_shuffled(rows: torch.Tensor, name: str) -> bool:
    """Warn if consecutive rows are no more similar than random rows, so that they are probably not one clip.

    In a sample of rows, all other rows of the sample are ranked by their distance from each row, and so is the next
    row. If the rows are shuffled, this rank has a uniform distribution. Ties count half. The sample depends only on
    the shape of X. Returns False if there are too few rows to tell.
    """
    n = len(rows)
    if n <= _FEWEST:
        return False
    at = torch.linspace(0, n - 2, min(n - 1, _n_compared(rows[:1].numel())), dtype=torch.float64).long()
    now, after = (rows[index.to(rows.device)].double().flatten(1) for index in (at, at + 1))
    unit = now.abs().max().clamp_min(1e-300)  # squares of large numbers stay finite
    near = torch.linalg.vector_norm((after - now) / unit, dim=1, keepdim=True)
    # products of matrices would round small distances
    far = torch.cdist(now / unit, now / unit, compute_mode="donot_use_mm_for_euclid_dist")
    signs = (far - near).sign().fill_diagonal_(0)
    z = signs.sum() / (len(at) - 1) * math.sqrt(3 / len(at))  # the variance of a uniform distribution on -1..1 is 1/3
    if signs.any() and z < _SHUFFLED:
        warn(
            f"{name}: consecutive rows are no more alike than random ones, so X does not look like one clip. Pass "
            "groups, the clip of each row, with the frames of a clip as consecutive rows in temporal order",
        )
    return True


def _n_compared(n_features):
    """The number of rows to compare, with about as many operations for rows of any length."""
    return min(max(math.isqrt(_OPERATIONS // max(n_features, 1)), _FEWEST), _COMPARED)


def clip_ids(groups: ArrayLike) -> np.ndarray:
    """Clip ids as a 1-D numpy array. NaN is rejected, because it is not equal to itself."""
    groups = np.asarray(to_numpy(groups))
    if groups.ndim != 1:
        raise ValueError(f"groups must be of shape (n,), one clip id for each frame, got {groups.shape}")
    missing = np.flatnonzero(groups != groups)
    if len(missing):
        raise ValueError(
            f"groups has {groups[missing[0]]} instead of a clip id in row {missing[0]}. Pass a clip id for each frame"
        )
    return groups
