"""How certain the clusters of photographs are: whether the same photographs come together when others are left out."""

import warnings
from typing import Any

import numpy as np

MIXED = 0.5  # clusters that are less certain are called mixed
_N_RUNS = 10
_SHARE = 0.8  # of the photographs in each run
# logistic regression of "is of the most frequent class of its cluster" on the agreement, on images with known classes:
# benchmarks/cluster_certainty.py
_SLOPE, _INTERCEPT = 2.83, -1.45


def certainties(features: Any, labels: Any, n_clusters: int, seed: int) -> np.ndarray:
    """The estimated probability (n,) that each photograph is of the kind of most photographs of its cluster.

    It is calibrated on images with known classes and lies between 0.19 and 0.80: without labels nothing is sure. It is
    NaN for a photograph that is alone in its cluster.
    """
    agreement = agreement_of_runs(labels, resampled_clusterings(features, n_clusters, seed))
    return 1 / (1 + np.exp(-(_SLOPE * agreement + _INTERCEPT)))


def resampled_clusterings(features: Any, n_clusters: int, seed: int) -> np.ndarray:
    """The clusters (r, n) of all photographs in r runs of k-means, each of which learns from a random part of them."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    rng = np.random.RandomState(seed)
    rows = StandardScaler().fit_transform(features)
    n_learned = max(int(_SHARE * len(rows)), n_clusters)
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal photographs may be fewer than clusters
        for _ in range(_N_RUNS):
            learned = rows[rng.permutation(len(rows))[:n_learned]]
            runs.append(KMeans(n_clusters, n_init=1, random_state=rng).fit(learned).predict(rows))
    return np.stack(runs)


def agreement_of_runs(labels: Any, runs: np.ndarray) -> np.ndarray:
    """The share (n,) of the other photographs of its cluster that each photograph is together with, averaged over runs.

    It is NaN for a photograph that is alone in its cluster.
    """
    shares = np.full(len(labels), np.nan)
    for cluster in np.unique(labels):
        members = np.flatnonzero(labels == cluster)
        if len(members) > 1:
            together = [np.bincount(run)[run] - 1 for run in runs[:, members]]
            shares[members] = np.mean(together, axis=0) / (len(members) - 1)
    return shares
