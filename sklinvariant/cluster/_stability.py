"""The choice of a number of clusters by stability: how well independent clusterings of the same rows agree."""

import itertools
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import adjusted_rand_score

UNSTABLE = 0.5  # the number of clusters is uncertain if clusterings agree less
_TOLERANCE = 0.001  # stabilities that differ by less count as equal
_ROWS_TO_COMPARE = 4  # per cluster; clusterings into almost single rows agree whether there are clusters or not


def numbers_to_compare(n_rows: int, most: int) -> range:
    """The numbers of clusters from 2 to ``most`` with at least 4 rows per cluster, or 2 alone if rows are fewer."""
    return range(2, max(2, min(most, n_rows // _ROWS_TO_COMPARE)) + 1)


def too_few_rows(k: int, compared: int, n_rows: int, most: int) -> list[str]:
    """The message that k is the largest number ``compared``, if the rows are too few to compare ``most``."""
    if not compared == k < most:
        return []
    return [
        f"{k} is the largest number of clusters that was compared, because X has only {n_rows} rows. There may be more "
        "clusters. Pass more rows, or n_clusters"
    ]


def agreement(labels: Sequence[np.ndarray], k: int) -> float:
    """Mean adjusted Rand index between all pairs of clusterings (n,), or 0 if one has fewer than k clusters."""
    if min(len(np.unique(each)) for each in labels) < k:
        return 0.0
    return float(np.mean([adjusted_rand_score(*pair) for pair in itertools.combinations(labels, 2)]))


def stable_number(numbers: Sequence[int], stability: np.ndarray) -> int:
    """The largest number whose stability is at most 0.001 below the best, or the smallest if all are 0.

    Smaller numbers can be as stable as the right one: if clusters differ in size or distance, all clusterings join the
    same ones.
    """
    best = stability.max()
    close = np.flatnonzero(stability >= best - _TOLERANCE)
    return numbers[int(close[-1]) if best > 0 else 0]
