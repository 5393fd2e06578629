"""Which rows are frames that follow each other, by the clips that they are of, and batches of such pairs."""

import math
import warnings

import numpy as np
import torch

from sklinvariant.base import to_numpy

UNIT_SAMPLE = 1024  # pairs that the unit is taken from


_COMPARED = 512  # consecutive rows, at most, that are compared with random ones,


_FEWEST = 32  # and at least: fewer tell nothing


def consecutive_mask(groups, n):
    """(n - 1,) booleans: row i + 1 is the next frame of row i, which is where both are of one clip.

    ``groups`` (n,) are clip ids of any kind, or None for one clip. Raises a ValueError that names the row where a clip
    comes back after another: rows are then not in temporal order, and their neighbours not neighbours in time.
    """
    if groups is None:
        return torch.ones(n - 1, dtype=torch.bool)
    groups = clip_ids(groups)
    if len(groups) != n:
        raise ValueError(f"groups has {len(groups)} clip ids for {n} frames: one is needed for each")
    same = np.asarray(groups[1:] == groups[:-1], dtype=bool)
    seen = {}
    for row in [0, *(np.flatnonzero(~same) + 1)]:
        clip = groups[row : row + 1].tolist()[0]
        if clip in seen:
            raise ValueError(
                f"groups: clip {clip!r} begins in row {seen[clip]} and comes back in row {row} after another clip; "
                "the frames of a clip must be consecutive rows in temporal order"
            )
        seen[clip] = row
    return torch.from_numpy(same)


def warn_of_shuffled(rows, name):
    """Warn where consecutive rows are no more alike than random ones, so that they cannot be frames of one clip.

    A sign test on a sample: is the next row nearer than a random one? The sample depends on nothing but the number of
    rows, and rows that are equally near count for neither.
    """
    n = len(rows)
    if n <= _FEWEST:
        return
    first = torch.linspace(0, n - 2, min(_COMPARED, n - 1), dtype=torch.float64).long()
    other = (first + torch.randint(1, n, first.shape, generator=torch.Generator().manual_seed(0))) % n
    now, after, random = (rows[index.to(rows.device)].double() for index in (first, first + 1, other))
    unit = now.abs().max().clamp_min(1e-300)  # squares of large numbers stay finite
    near, far = (torch.linalg.vector_norm((x / unit - now / unit).flatten(1), dim=1) for x in (after, random))
    wins, losses = int((near < far).sum()), int((near > far).sum())
    if wins + losses and wins - losses < 2 * math.sqrt(wins + losses):  # less than two standard deviations
        warnings.warn(
            f"{name}: consecutive rows are no more alike than random ones, so X does not look like one clip. Pass "
            "groups, the clip of each row, and give the frames of a clip as consecutive rows in temporal order",
            stacklevel=5,
        )


def clip_ids(groups):
    """Clip ids as a 1-D numpy array, none of them NaN (which is the same as nothing)."""
    groups = np.asarray(to_numpy(groups))
    if groups.ndim != 1:
        raise ValueError(f"groups must be of shape (n,), one clip id a frame, got {groups.shape}")
    missing = np.flatnonzero(groups != groups)
    if len(missing):
        raise ValueError(f"groups has no clip id but {groups[missing[0]]} in row {missing[0]}")
    return groups
