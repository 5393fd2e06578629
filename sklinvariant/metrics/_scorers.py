"""Scorers of retrieval for cross-validation: each sample asks for the others, those of its label are relevant."""

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
    """A scorer of how well samples find those of their own label, for ``scoring=`` of cross-validation.

    Every sample scored is a query, all of them are the database. They are ranked by the neighbours of the estimator,
    where it has ``kneighbors`` (a copy of it is fitted to them), else by L2 between its features (``transform``). In a
    Pipeline that ends with such an index, the steps before it are used as they were fitted. So what is learned is
    learned from the training part, and what is searched is the test part. Some queries are ranked at a time, as many
    as scikit-learn's ``working_memory`` allows.

    Parameters
    ----------
    metric : {"mean_average_precision", "recall_at_k", "ukbench_score"}, default="mean_average_precision"
        The query itself is junk, except for UKBench, which counts it.
    k : int or None, default=None
        Neighbours that are looked at; None ranks all. "recall_at_k" needs it, and "ukbench_score" looks at 4.
    interpolation : {"step", "trapezoid"}, default="step"
        Of "mean_average_precision", see `average_precision`.

    Returns
    -------
    callable ``(estimator, X, y) -> float``

    Notes
    -----
    Samples at equal distance, which codes often have, are ranked as the search returns them. Queries of whose label
    there is no other sample are left out of the mean.

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
                f"metric must be 'mean_average_precision', 'recall_at_k' or 'ukbench_score', got {metric!r}"
            )
        if metric == "recall_at_k" and k is None:
            raise ValueError("recall_at_k needs k")
        self.metric = metric
        self.k = 4 if metric == "ukbench_score" else k
        self.interpolation = interpolation

    def __repr__(self):
        return f"make_retrieval_scorer({self.metric!r}, k={self.k}, interpolation={self.interpolation!r})"

    def __call__(self, estimator, X, y):
        if y is None:
            raise ValueError("a retrieval scorer needs y, the labels that tell what is relevant")
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
    """For some rows of X at a time, the ``depth`` nearest rows of X (None: all), themselves among them."""
    if isinstance(estimator, Pipeline) and hasattr(estimator[-1], "kneighbors"):
        estimator, X = estimator[-1], estimator[:-1].transform(X) if len(estimator) > 1 else X
    if hasattr(estimator, "kneighbors"):
        yield from _by_index(clone(estimator).fit(X), X, depth)
    else:
        features = np.asarray(to_numpy(estimator.transform(X)))
        features = features.reshape(len(features), -1)
        if features.dtype in (np.float32, np.float64):  # whose distances could leave the range of floats
            features = in_safe_unit(as_tensor(features))[0].numpy()
        yield from pairwise_distances_chunked(features, reduce_func=lambda block, _: _nearest_first(block, depth))


def _by_index(index, X, depth):
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    depth = n if depth is None else min(depth, n)
    bytes_of_a_query = 32 * depth  # distances and ids, and their copies
    for rows in gen_batches(n, max(1, int(get_config()["working_memory"] * 2**20 / bytes_of_a_query))):
        queries = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
        yield np.asarray(to_numpy(index.kneighbors(queries, depth, return_distance=False)))


def _nearest_first(distances, depth):
    """Rows of distances (q, n) as the columns of the ``depth`` least, in order."""
    n = distances.shape[1]
    if depth is None or depth >= n:
        return np.argsort(distances, axis=1, kind="stable")
    nearest = np.sort(np.argpartition(distances, depth - 1, axis=1)[:, :depth], axis=1)
    order = np.argsort(np.take_along_axis(distances, nearest, 1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, 1)
