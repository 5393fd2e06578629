"""The effort that an approximate index needs to find the required share of the true neighbours."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from sklinvariant._warnings import warn

_SAMPLE = 256  # number of codes on which the recall is measured
_FLIPPED = 1 / 64  # share of their bits that are flipped, because stored codes are easier to find than real queries
_PERMUTED = 1 << 20  # numbers of codes that are permuted to sample them


def first_wanted(distances: np.ndarray, rows: np.ndarray, wanted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k wanted candidates of each row of (q, m), in order."""
    order = np.argsort(~wanted, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def recall_by_distance(distances: np.ndarray, exact_distances: np.ndarray) -> np.ndarray:
    """Share of the k nearest neighbours found for each query: (q, m) and (q, k) -> (q,).

    A code counts as found if it is at most as far as the k-th nearest, so ties count as found.
    """
    return (distances <= exact_distances[:, -1:]).sum(1) / exact_distances.shape[1]


def noisy_sample(codes: np.ndarray, kept: np.ndarray | None, random_state: object) -> np.ndarray:
    """A sample of the codes (of the rows ``kept`` if they are given), with some bits flipped."""
    rng = check_random_state(random_state)
    n = len(codes) if kept is None else len(kept)
    if n <= _PERMUTED:
        rows = rng.permutation(n)[:_SAMPLE]
    else:
        rows = sample_without_replacement(n, _SAMPLE, random_state=rng)
    rows = np.sort(rows)
    sample = codes[rows if kept is None else kept[rows]]
    return sample ^ np.packbits(rng.random_sample((len(sample), 8 * sample.shape[1])) < _FLIPPED, axis=1)


def least_effort(
    candidates: Callable[[int], tuple[np.ndarray, np.ndarray]],
    exact_distances: np.ndarray | None,
    efforts: Iterable[int],
    recall: float,
) -> tuple[int, float, bool]:
    """The first of the rising efforts that reaches a recall: the effort, its recall, and whether it is enough.

    Parameters
    ----------
    candidates : callable
        From an effort to the distances (q, m) of candidates, nearest first, and a mask of those that count.
    exact_distances : ndarray of shape (q, k + 1) or None
        Distances of the true neighbours. The first is usually the code from which the query was made, and does not
        count. None if there are no neighbours to find.
    """
    effort, share = 0, 1.0
    for effort in efforts:
        shares = np.ones(1)
        if exact_distances is not None:
            distances, wanted = candidates(effort)
            far = np.where(wanted, distances, np.iinfo(np.int32).max)
            found = np.sort(far, axis=1)[:, : exact_distances.shape[1]]
            shares = recall_by_distance(found[:, 1:], exact_distances[:, 1:])
        share = float(shares.mean())
        if shares.mean() - 2 * shares.std() / math.sqrt(len(shares)) >= recall:
            return int(effort), share, True
    return int(effort), share, False


def warn_of_recall(index: str, share: float, k: int, recall: float) -> None:
    """Say that an index misses more neighbours than allowed."""
    warn(
        f"index={index!r} finds {share:.3f} of the {k} nearest neighbours on a sample, less than recall={recall}. "
        "Choose another index, or raise n_links, ef_construction or n_tables.",
    )
