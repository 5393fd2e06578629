"""The consensus of many clusterings: spectral clustering of how often they put two rows into the same cluster.

Strehl & Ghosh 2002, "Cluster ensembles: a knowledge reuse framework for combining multiple partitions"; Fern & Brodley
2004, "Solving cluster ensemble problems by bipartite graph partitioning". Axes: n rows, r runs, m clusters of all runs.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, Self

import numpy as np
from sklearn.base import ClusterMixin, MetaEstimatorMixin, clone
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from sklinvariant._compat import HasMethods, fit_context
from sklinvariant.base import (
    Array,
    Count,
    Each,
    FittedState,
    RandomState,
    TorchEstimator,
    Whole,
    as_numpy,
    declared,
    integers,
    to_numpy,
)
from sklinvariant.cluster._temi_clusterer import TEMIClusterer


def places_of(labels: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Numbers (n, r) of clusters among those of all runs, from labels (n, r) in 0 to ``sizes[r] - 1``."""
    return labels + np.cumsum([0, *sizes[:-1]])


def common_rows(places: np.ndarray, m: int, weights: np.ndarray) -> np.ndarray:
    """Weighted numbers (m, m) of rows that two clusters have in common."""
    counts = np.zeros(m * m)
    for first in places.T:
        for second in places.T:
            counts += np.bincount(first * m + second, weights, minlength=m * m)
    return counts.reshape(m, m)


def spectral_features(places: np.ndarray, m: int, k: int, weights: np.ndarray) -> np.ndarray:
    """The leading k eigenvectors (n, k) of the normalised co-association of rows, each row of unit length.

    The co-association of two rows is the share of runs that put them into the same cluster. Its n × n matrix is not
    computed: its eigenvectors are sums of those of a matrix of clusters (m, m).
    """
    sizes = np.bincount(places.ravel(), np.repeat(weights, places.shape[1]), minlength=m)
    degrees = sizes[places].mean(1)
    _, vectors = np.linalg.eigh(common_rows(places, m, weights / degrees))
    vectors = vectors[:, ::-1][:, :k]
    rows = vectors[places].sum(1) / np.sqrt(degrees)[:, None]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)


def consensus(labels: np.ndarray, sizes: list[int], k: int, random_state: Any) -> np.ndarray:
    """Clusters (n,) of the rows, from their labels (n, r)."""
    kinds, index, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    if len(kinds) <= k:  # no two kinds of rows have to be joined
        return index.ravel()
    features = spectral_features(places_of(kinds, sizes), sum(sizes), k, counts.astype(float))
    means = KMeans(k, n_init=10, random_state=random_state).fit(features, sample_weight=counts)
    return means.labels_[index.ravel()]


def votes_of(labels: np.ndarray, sizes: list[int], clusters: np.ndarray, k: int) -> np.ndarray:
    """The share (m, k) of the rows of each cluster of a run that are in each cluster of the consensus."""
    votes = np.zeros((sum(sizes), k))
    for places in places_of(labels, sizes).T:
        np.add.at(votes, (places, clusters), 1)
    sums = votes.sum(1, keepdims=True)
    return np.where(sums > 0, votes / np.maximum(sums, 1), 1 / k)


@declared
class ConsensusClusterer(MetaEstimatorMixin, ClusterMixin, TorchEstimator):
    """The consensus of many runs of one or several clusterers.

    Two rows are similar if many runs put them into the same cluster. Spectral clustering of this similarity gives k
    clusters. Its time and memory grow linearly with the number of rows: it works with the clusters that two runs have
    in common, not with pairs of rows. Each cluster of a run then votes for the clusters of the consensus, in proportion
    to the rows that it shares with them, which also gives the clusters of new rows.

    Parameters
    ----------
    estimator : estimator or list of estimators with ``fit`` and ``predict``, or None
        The clusterers. Each run fits a clone with another ``random_state``. Their numbers of clusters may differ from
        ``n_clusters``; larger ones are often better. None is `TEMIClusterer` with ``n_clusters`` and one head.
    n_clusters : int
        Number of clusters k.
    n_runs : int
        Number of runs of each clusterer.
    random_state : int, RandomState or None
        Seed of the runs.

    Attributes
    ----------
    labels_ : array of shape (n,)
        Cluster of each row of the last fit.
    estimators_ : list of estimators
        The fitted clusterers of all runs.
    agreement_ : float
        Mean of the largest probability of each row. It is 1 if all runs give the same clusters.

    References
    ----------
    Strehl, Ghosh (2002). Cluster Ensembles: A Knowledge Reuse Framework for Combining Multiple Partitions.
    Fern, Brodley (2004). Solving Cluster Ensemble Problems by Bipartite Graph Partitioning.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.metrics import adjusted_rand_score
    >>> from sklinvariant import ConsensusClusterer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ConsensusClusterer(KMeans(10, n_init=1), 3, n_runs=20, random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> bool(adjusted_rand_score(y, model.labels_) > 0.5)
    True
    """

    _fits_shards = False
    _layout = {
        "votes": Array("m", "n_clusters"),
        "names": Each(Array(None, kinds="iu")),
        "labels": Array(None, kinds="i"),
        "n_clusters": Whole(),
    }
    estimator: Annotated[Any, HasMethods(["fit", "predict"])] | list | tuple | None = None
    n_clusters: Count = 8
    _: KW_ONLY
    n_runs: Annotated[int, integers(1, 1000)] = 5
    random_state: RandomState = None

    labels_ = FittedState("Clusters of the rows of the last fit, (n,).")

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the clusterers, and find their consensus.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows.

        Raises
        ------
        ValueError
            If there are fewer rows than clusters, or if ``estimator`` contains an object without ``fit`` and
            ``predict``.
        """
        given = self._read(X, reset=True)
        rows = self._rows(given)
        if len(rows) < self.n_clusters:
            raise ValueError(
                f"n_samples={len(rows)} should be >= n_clusters={self.n_clusters}. Pass more rows, or lower n_clusters"
            )
        random = check_random_state(self.random_state)
        self.estimators_ = [self._fitted(base, rows, random) for base in self._bases() for _ in range(self.n_runs)]
        found = [np.unique(_predicted(run, rows), return_inverse=True) for run in self.estimators_]
        names, labels = [names for names, _ in found], np.stack([places.ravel() for _, places in found], 1)
        sizes, k = [len(each) for each in names], self.n_clusters
        votes = votes_of(labels, sizes, consensus(labels, sizes, k, random), k)
        shares = votes[places_of(labels, sizes)].mean(1)
        self._state = {
            "namespace": given.kind.name,
            "votes": votes,
            "names": names,
            "labels": shares.argmax(1),
            "n_clusters": k,
        }
        self.agreement_ = float(shares.max(1).mean())
        return self

    def predict(self, X: Any) -> Any:
        """Predict the cluster of each row.

        Returns
        -------
        array of shape (n,)
        """
        given = self._read(X)
        return given.answer(self._shares(given).argmax(1))

    def predict_proba(self, X: Any) -> Any:
        """Predict the share of the votes of the runs for each cluster.

        Returns
        -------
        array of shape (n, n_clusters)
        """
        given = self._read(X)
        return given.answer(self._shares(given).astype(str(given.dtype).removeprefix("torch.")))

    def _bases(self):
        """The clusterers, of which each run fits a clone."""
        if self.estimator is None:
            return [TEMIClusterer(self.n_clusters, n_heads=1)]
        bases = list(self.estimator) if isinstance(self.estimator, list | tuple) else [self.estimator]
        wrong = [base for base in bases if not (hasattr(base, "fit") and hasattr(base, "predict"))]
        if wrong or not bases:
            raise ValueError(
                f"estimator={self.estimator!r} should be a clusterer with fit and predict, a list of them, or None. "
                "DBSCAN and spectral clustering, for example, have no predict"
            )
        return bases

    @staticmethod
    def _fitted(base, rows, random):
        run, seed = clone(base), int(random.randint(np.iinfo(np.int32).max))
        if "random_state" in run.get_params(deep=False):
            run.set_params(random_state=seed)
        return run.fit(rows, None)

    def _rows(self, given):
        """The rows as the clusterers get them: float64, which none of them confuses with the precision of the fit."""
        return given.data.double().cpu().numpy()

    def _shares(self, given):
        """The mean votes (n, k) of the runs; a cluster that had no rows in `fit` has no preference."""
        rows, names, start = self._rows(given), self._state["names"], 0
        shares = np.zeros((len(rows), self._state["n_clusters"]))
        for run, known in zip(self.estimators_, names, strict=True):
            labels = _predicted(run, rows)
            places = np.minimum(np.searchsorted(known, labels), len(known) - 1)
            votes = self._state["votes"][start + places]
            shares += np.where((known[places] == labels)[:, None], votes, 1 / shares.shape[1])
            start += len(known)
        return shares / len(names)


def _predicted(run, rows):
    return as_numpy(to_numpy(run.predict(rows))).astype(np.int64)
