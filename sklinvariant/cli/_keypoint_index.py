"""The key points of the photographs of an index: they vote for a short list, which their places confirm or refute."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sklinvariant.images import Keypoints

CODE_BYTES = 16  # of a key point
N_KEYPOINTS = 300  # of a photograph
N_FAST_KEYPOINTS = 150  # with ``--fast``
_N_VOTES = 5  # for photographs, by each key point of a query
_MOST_BITS = 36  # of 128; a key point that differs in more has no vote
_N_LISTED = 20  # photographs of the short list
_LEAST_MATCHES = 10  # unrelated photographs have at most 8


class KeypointIndex(NamedTuple):
    """The key points of the photographs of an index."""

    codes: Any  # HammingNeighbors of the codes of all key points, photograph by photograph
    places: np.ndarray  # (number of key points, 4)
    counts: np.ndarray  # number of key points of each photograph

    def matches(self, keypoints: Keypoints) -> dict[int, int]:
        """{row: number of matching key points} of the photographs that show the query or its mirror image."""
        if not len(keypoints.codes) or not len(self.places):
            return {}
        views = [keypoints, keypoints.mirrored()]
        votes = sum(self._votes(view) for view in views)
        listed = [int(row) for row in np.argsort(-votes, kind="stable")[:_N_LISTED] if votes[row] > 0]
        counts = {row: max(self._n_matches(view, row) for view in views) for row in listed}
        return {row: count for row, count in counts.items() if count >= _LEAST_MATCHES}

    def _votes(self, keypoints):
        """The votes for each photograph. The fewer bits differ, the more a vote counts."""
        bits, rows = self.codes.kneighbors(keypoints.codes, min(_N_VOTES, len(self.places)))
        photos = np.searchsorted(np.cumsum(self.counts), rows.ravel(), side="right")
        return np.bincount(photos, np.maximum(1 - bits.ravel() / _MOST_BITS, 0), len(self.counts))

    def _n_matches(self, keypoints, row):
        from sklinvariant.images import Keypoints, align

        start = self.counts[:row].sum()
        own = slice(start, start + self.counts[row])
        return align(keypoints, Keypoints(self.places[own], self.codes.codes_[own])).n_matches


def pack(keypoints: Sequence[Keypoints]) -> dict[str, Any]:
    """The key points of several photographs as arrays, for a file."""
    counts = np.array([len(one.codes) for one in keypoints], np.int64)
    return {name: np.concatenate([getattr(one, name) for one in keypoints]) for name in ("places", "codes")} | {
        "counts": counts
    }


def unpack(arrays: Mapping[str, np.ndarray], n_photos: int) -> list[Keypoints]:
    """The key points of each photograph from the arrays of `pack`. Raises a ValueError for other arrays."""
    from sklinvariant.images import Keypoints

    counts, places, codes = (arrays[name] for name in ("counts", "places", "codes"))
    check_places(places, counts, n_photos)
    if codes.shape != (len(places), CODE_BYTES) or codes.dtype != np.uint8:
        raise ValueError(f"codes of shape {codes.shape} for {len(places)} key points")
    ends = np.append(0, np.cumsum(counts))
    return [Keypoints(places[start:end], codes[start:end]) for start, end in itertools.pairwise(ends)]


def check_places(places: np.ndarray, counts: np.ndarray, n_photos: int) -> None:
    """Raise a ValueError if arrays from a file are not those of `pack`."""
    if counts.shape != (n_photos,) or counts.dtype != np.int64 or (counts < 0).any():
        raise ValueError(f"the numbers of key points of {n_photos} photographs are {counts.shape} {counts.dtype}")
    if places.dtype != np.float16 or places.shape != (sum(counts.tolist()), 4) or not np.isfinite(places).all():
        raise ValueError(f"the places of {counts.sum()} key points are {places.shape} {places.dtype}")
