"""Retrieval scorers for cross-validation: each sample is a query, and the samples with its label are relevant."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.metrics import pairwise_distances_chunked
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, gen_batches

from sklinvariant.base import as_tensor, to_numpy
from sklinvariant.metrics._retrieval import average_precision, mean_over_queries, recalls
from sklinvariant.ops import in_safe_unit


def make_retrieval_scorer(
    metric: str = "mean_average_precision", *, k: int | None = None, interpolation: str = "step"
) -> Callable[..., float]:
    """A scorer of the retrieval of samples with the same label, for ``scoring=`` of cross-validation.

    Every test sample is a query, and all test samples form the database. If the estimator has ``kneighbors``, a clone
    of it is fitted to the test samples and ranks them. Otherwise samples are ranked by the Euclidean distance of their
    features (``transform``). In a Pipeline that ends with an index, the earlier steps are fitted to the
    training samples, and the index searches the test samples. Queries are ranked in batches that fit
    into scikit-learn's ``working_memory``.

    Parameters
    ----------
    metric : {"mean_average_precision", "recall_at_k", "ukbench_score"}, default="mean_average_precision"
        The metric. The query itself is junk, except for "ukbench_score", which counts it.
    k : int or None, default=None
        Number of neighbours to consider; None considers all. Required for "recall_at_k"; "ukbench_score" uses 4.
    interpolation : {"step", "trapezoid"}, default="step"
        How "mean_average_precision" computes the area under the curve: as scikit-learn does, or with the trapezoids of
        the Oxford buildings.

    Returns
    -------
    callable ``(estimator, X, y) -> float``

    Notes
    -----
    Ties, which are frequent with binary codes, are ranked in the order in which the search returns them. Queries whose
    label occurs only once are left out of the mean.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklinvariant.metrics import make_retrieval_scorer
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> search = GridSearchCV(PCA(), {"n_components": [1, 8]}, scoring=make_retrieval_scorer(), cv=3).fit(X, y)
    >>> search.best_params_
    {'n_components': 8}
    """
    return _RetrievalScorer(metric, k, interpolation)


class _RetrievalScorer:
    def __init__(self, metric, k, interpolation):
        if metric not in ("mean_average_precision", "recall_at_k", "ukbench_score"):
            raise ValueError(
                f"metric={metric!r} is unknown. Choose 'mean_average_precision', 'recall_at_k' or 'ukbench_score'."
            )
        if metric == "recall_at_k" and k is None:
            raise ValueError("k is None, but metric='recall_at_k' requires k. Pass the number of neighbours.")
        self.metric = metric
        self.k = 4 if metric == "ukbench_score" else k
        self.interpolation = interpolation

    def __repr__(self):
        return f"make_retrieval_scorer({self.metric!r}, k={self.k}, interpolation={self.interpolation!r})"

    def __call__(self, estimator, X, y):
        if y is None:
            raise ValueError("y is None, but a retrieval scorer requires labels. Pass one label for each sample.")
        check_consistent_length(X, y)
        _, label = np.unique(np.asarray(to_numpy(y)), return_inverse=True)
        members = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
        keeps_query = self.metric == "ukbench_score"
        values, first = [], 0
        for ranking in rankings(estimator, X, None if self.k is None else self.k + (not keeps_query)):
            queries = np.arange(first, first + len(ranking))
            relevant, junk = [members[i] for i in label[queries]], None if keeps_query else queries[:, None]
            values.append(self._values(ranking, relevant, junk))
            first += len(ranking)
        return mean_over_queries(np.concatenate(values))

    def _values(self, ranking, relevant, junk):
        if self.metric == "mean_average_precision":
            return average_precision(ranking, relevant, junk=junk, interpolation=self.interpolation)
        shares = recalls(ranking, relevant, k=self.k, junk=junk)
        return 4 * shares if self.metric == "ukbench_score" else shares


def rankings(estimator: Any, X: Any, depth: int | None) -> Iterator[np.ndarray]:
    """For blocks of rows of X, the ``depth`` nearest rows of X (None: all), including themselves."""
    if isinstance(estimator, Pipeline) and hasattr(estimator[-1], "kneighbors"):
        estimator, X = estimator[-1], estimator[:-1].transform(X) if len(estimator) > 1 else X
    if hasattr(estimator, "kneighbors"):
        yield from _by_index(clone(estimator).fit(X), X, depth)
    else:
        features = np.asarray(to_numpy(estimator.transform(X)))
        features = features.reshape(len(features), -1)
        if features.dtype in (np.float32, np.float64):  # distances of floats could overflow
            features = in_safe_unit(as_tensor(features))[0].numpy()
            features = features - features.mean(0)  # centred, so that products of large numbers do not cancel
        yield from pairwise_distances_chunked(features, reduce_func=lambda block, _: _nearest_first(block, depth))


def _by_index(index, X, depth):
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    depth = n if depth is None else min(depth, n)
    bytes_of_a_query = 32 * depth  # for distances, ids and their copies
    for rows in gen_batches(n, max(1, int(get_config()["working_memory"] * 2**20 / bytes_of_a_query))):
        queries = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
        yield np.asarray(to_numpy(index.kneighbors(queries, depth, return_distance=False)))


def _nearest_first(distances, depth):
    """Columns of the ``depth`` smallest entries of each row of distances (q, n), in ascending order."""
    n = distances.shape[1]
    if depth is None or depth >= n:
        return np.argsort(distances, axis=1, kind="stable")
    nearest = np.sort(np.argpartition(distances, depth - 1, axis=1)[:, :depth], axis=1)
    order = np.argsort(np.take_along_axis(distances, nearest, 1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, 1)
