"""Agreement of clusters and classes (section 4.1 of Ji, Henriques, Vedaldi 2019).

Axes: n samples or pixels, c classes, k clusters. All metrics are computed from the confusion matrix (c, k), which is
accumulated over blocks of labels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold

from sklinvariant._settings import with_own_settings
from sklinvariant.base import RandomState, as_numpy, documented_by, is_count, to_numpy

_LABELS = 1 << 20  # labels in a block
_SPAN = 1 << 20  # largest range of integer labels that are looked up in a table rather than sorted
_MATCHES = ("one-to-one", "many-to-one")


@with_own_settings
def clustering_accuracy(y_true: Any, y_pred: Any, *, ignore_label: Any = None, sample_weight: Any = None) -> float:
    r"""Accuracy of the best one-to-one assignment of clusters to classes.

    .. math:: \max_m \frac{1}{n} \sum_i [m(\hat y_i) = y_i]

    where m ranges over all one-to-one maps from clusters to classes; the maximum is found by linear assignment (Kuhn
    1955). The names of clusters and classes do not matter.

    Parameters
    ----------
    y_true : array-like of any shape, or list of arrays
        Classes, as numbers or strings. Pass label maps of unequal size as a list.
    y_pred : array-like or list of arrays, of the shape of y_true
        Clusters. -1 is treated like any other cluster, so noise can be matched with a class.
    ignore_label : label or None, default=None
        Samples or pixels with this label in ``y_true`` are ignored, for instance unlabelled ones.
    sample_weight : array-like or None, default=None
        Non-negative weights, of the shape of ``y_true``, or (n,) with one weight for all pixels of an image.

    Returns
    -------
    float
        A value between 1 / max(c, k) and 1. With more clusters than classes, the samples of unmatched clusters count
        as errors, so splitting a class lowers the score (but see `many_to_one_accuracy`). With fewer, the samples of
        unmatched classes count as errors.

    Raises
    ------
    ValueError
        If the shapes differ, or if no sample is left to count.

    Examples
    --------
    >>> from sklinvariant.metrics import clustering_accuracy
    >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 0])
    1.0
    >>> clustering_accuracy([0, 0, 0, 0, 1, 1], [0, 0, 2, 2, 1, 1])
    0.6666666666666666
    >>> clustering_accuracy([[0, 0], [1, 255]], [[1, 1], [0, 1]], ignore_label=255)
    1.0
    """
    counts, _, _ = confusion(y_true, y_pred, ignore_label=ignore_label, sample_weight=sample_weight)
    counts = _check_not_empty(counts, ignore_label)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


@with_own_settings
def many_to_one_accuracy(
    y_true: Any,
    y_pred: Any,
    *,
    y_true_train: Any,
    y_pred_train: Any,
    ignore_label: Any = None,
    sample_weight: Any = None,
) -> float:
    """Accuracy when each cluster is assigned the class that is most frequent in it in a training split.

    A class may correspond to several clusters, so this metric suits more clusters than classes. The finer the clusters
    are, the better the assignment fits the labels from which it is learned, so it is evaluated on other labels. On the
    same labels, the result is the *purity* of the clusters, which is 1 if each sample is a cluster.

    Parameters
    ----------
    y_true, y_pred : array-like of any shape, or list of arrays
        Classes and clusters of the test split. Pass label maps of unequal size as a list.
    y_true_train, y_pred_train : array-like of any shape, or list of arrays
        Classes and clusters of the training split, from which the assignment is learned.
    ignore_label : label or None, default=None
        Samples or pixels with this label in ``y_true`` or ``y_true_train`` are ignored.
    sample_weight : array-like or None, default=None
        Non-negative weights of the test split, of the shape of ``y_true``, or (n,) with one weight for all pixels of an
        image.

    Returns
    -------
    float
        A value between 0 and 1. Samples of clusters without a label in the training split count as errors. If two
        classes are equally frequent in a cluster, the first in sorted order is assigned.

    Examples
    --------
    >>> from sklinvariant.metrics import many_to_one_accuracy
    >>> train = {"y_true_train": [0, 0, 1], "y_pred_train": [7, 8, 9]}
    >>> many_to_one_accuracy([0, 0, 1, 1], [7, 8, 9, 7], **train)
    0.75
    """
    train = confusion(y_true_train, y_pred_train, ignore_label=ignore_label)
    test = confusion(y_true, y_pred, ignore_label=ignore_label, sample_weight=sample_weight)
    return float(_hits_of_map(train, test) / _check_not_empty(test[0], ignore_label).sum())


@with_own_settings
@documented_by(clustering_accuracy)
def match_clusters(
    y_true: Any,
    y_pred: Any,
    n_clusters: int | None = None,
    *,
    match: str = "one-to-one",
    unmatched: Any = -1,
    ignore_label: Any = None,
) -> np.ndarray:
    """The class assigned to each cluster: ``match_clusters(y_true, y_pred)[y_pred]`` maps clusters to classes.

    Parameters
    ----------
    y_pred : array-like or list of arrays, of the shape of y_true
        Clusters, numbered from 0.
    n_clusters : int or None, default=None
        Number of clusters, including those that do not occur in ``y_pred``. None takes the largest cluster plus 1.
    match : {"one-to-one", "many-to-one"}, default="one-to-one"
        "one-to-one" maximises `clustering_accuracy`. A cluster without samples may be assigned an unmatched class, and
        some clusters may stay unmatched. "many-to-one" assigns to each cluster its most frequent class; ties are
        resolved in favour of the first class in sorted order.
    unmatched : label, default=-1
        Value for clusters without a class: unmatched ones for "one-to-one", those without samples for "many-to-one".

    Returns
    -------
    ndarray of shape (n_clusters,)
        Classes, in the dtype of ``y_true``. The dtype is object if only one of the classes and ``unmatched`` are
        strings.

    Raises
    ------
    ValueError
        If a cluster is not in 0 to n_clusters - 1, or if ``unmatched`` is needed but is also a class.

    Examples
    --------
    >>> from sklinvariant.metrics import match_clusters
    >>> match_clusters([5, 5, 8, 8, 8], [1, 1, 0, 0, 2])
    array([ 8,  5, -1])
    >>> match_clusters(["cat", "cat", "dog", "dog"], [1, 1, 0, 2], match="many-to-one")
    array(['dog', 'cat', 'dog'], dtype='<U3')
    """
    if match not in _MATCHES:
        raise ValueError(f"match={match!r} is unknown. Choose one of {_MATCHES}.")
    counts, classes, clusters = confusion(y_true, y_pred, ignore_label=ignore_label)
    counts = _check_not_empty(counts, ignore_label)
    clusters, n_clusters = _checked_clusters(clusters, n_clusters)
    table = np.zeros((len(classes), n_clusters))
    table[:, clusters] = counts
    if match == "one-to-one":
        rows, columns = linear_sum_assignment(table, maximize=True)
    else:
        columns = np.flatnonzero(table.sum(0) > 0)
        rows = table[:, columns].argmax(0)
    if len(columns) == n_clusters:
        return classes[rows[np.argsort(columns)]]
    if unmatched in classes.tolist():
        raise ValueError(f"unmatched={unmatched!r} is also a class, but must differ from all classes. Choose another.")
    mixed = isinstance(unmatched, str) != (classes.dtype.kind in "US")
    mapping = np.full(n_clusters, unmatched, object if mixed else np.result_type(classes, np.asarray(unmatched)))
    mapping[columns] = classes[rows]
    return mapping


@documented_by(clustering_accuracy)
def make_clustering_scorer(
    match: str = "one-to-one", *, ignore_label: Any = None, n_splits: int = 5, random_state: RandomState = 0
) -> Callable[..., float]:
    """A scorer that compares predicted clusters with classes, for ``scoring=`` of cross-validation.

    The scorer compares the predicted clusters of the test samples with their labels in y. Clusterers ignore y when they
    are fitted. The scorer is scikit-learn's scorer object: call its ``set_score_request`` to request ``sample_weight``.

    Parameters
    ----------
    match : {"one-to-one", "many-to-one"}, default="one-to-one"
        "one-to-one" is `clustering_accuracy`, suited to a fixed number of clusters or to searches for that number.
        "many-to-one" is `many_to_one_accuracy`, computed by cross-validation: the test samples are split into
        ``n_splits`` parts, and the assignment for each part is learned from the others, so that more clusters do not
        score better by overfitting the labels. (To learn the assignment from training data, score an
        `OverclusteringClassifier` around the clusterer.)
    n_splits : int, default=5
        Number of parts for "many-to-one", at most the number of samples.
    random_state : int, RandomState or None, default=0
        Seeds the split into parts. With an int, all candidates are compared on the same parts.

    Returns
    -------
    callable ``(estimator, X, y, sample_weight=None) -> float``

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklinvariant.metrics import make_clustering_scorer
    >>> X, y = load_digits(n_class=4, return_X_y=True)
    >>> grid = {"n_clusters": [2, 4, 8]}
    >>> search = GridSearchCV(KMeans(random_state=0), grid, scoring=make_clustering_scorer(), cv=3).fit(X, y)
    >>> search.best_params_
    {'n_clusters': 4}
    """
    if match not in _MATCHES:
        raise ValueError(f"match={match!r} is unknown. Choose one of {_MATCHES}.")
    if match == "one-to-one":
        return make_scorer(clustering_accuracy, ignore_label=ignore_label)
    if not is_count(n_splits, 2):
        raise ValueError(f"n_splits={n_splits!r} is not valid. Pass an integer of at least 2.")
    kwargs = {"ignore_label": ignore_label, "n_splits": n_splits, "random_state": random_state}
    return make_scorer(cross_mapped_accuracy, **kwargs)


@with_own_settings
def cross_mapped_accuracy(
    y_true: Any,
    y_pred: Any,
    *,
    ignore_label: Any = None,
    sample_weight: Any = None,
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> float:
    """Many-to-one accuracy, with the assignment for each part of the samples learned from the other parts."""
    n = len(y_true)
    if n < 2:
        raise ValueError(f"y_true has {n} sample(s), but cross-validation requires at least 2. Pass more samples.")
    hits = total = 0.0
    for train, test in KFold(min(n_splits, n), shuffle=True, random_state=random_state).split(np.empty(n)):
        weight = None if sample_weight is None else _rows(sample_weight, test)
        votes = confusion(_rows(y_true, train), _rows(y_pred, train), ignore_label=ignore_label)
        table = confusion(_rows(y_true, test), _rows(y_pred, test), ignore_label=ignore_label, sample_weight=weight)
        hits, total = hits + _hits_of_map(votes, table), total + table[0].sum()
    return float(hits / _check_not_empty(total, ignore_label))


def _hits_of_map(train, test):
    """Correct samples of a confusion matrix when clusters are assigned by the majority class of another one."""
    (votes, voted, known), (counts, classes, clusters) = train, test
    if not votes.size:
        return 0.0
    stands_for = dict(zip(known.tolist(), voted[votes.argmax(0)].tolist(), strict=True))
    row_of = {label: row for row, label in enumerate(classes.tolist())}
    rows = [row_of.get(stands_for[cluster]) if cluster in stands_for else None for cluster in clusters.tolist()]
    return sum(counts[row, column] for column, row in enumerate(rows) if row is not None)


def confusion(
    y_true: Any, y_pred: Any, *, ignore_label: Any = None, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weighted confusion matrix (c, k), the classes and the clusters.

    Classes and clusters with zero total weight are left out.
    """
    true, pred = _parts("y_true", y_true, y_pred), _parts("y_pred", y_pred, y_true)
    shapes = [[part.shape for part in parts] for parts in (true, pred)]
    if shapes[0] != shapes[1]:
        name = ["shape", "shapes"][len(true) > 1]
        both = [s[0] if len(s) == 1 else s for s in shapes]
        raise ValueError(
            f"y_true and y_pred have {name} {both[0]} and {both[1]}, but must have the same. Pass one cluster for each "
            "label."
        )
    by_map = len(true) > 1 or _is_list_of_arrays(y_true)
    if sample_weight is not None and not by_map and true[0].ndim > 1 and np.ndim(to_numpy(sample_weight)) == 1:
        true, pred, by_map = list(true[0]), list(pred[0]), True  # one weight for each label map, not for each pixel
    weights = _weights(sample_weight, true, by_map)
    classes, code_of_class = _coding("y_true", true)
    clusters, code_of_cluster = _coding("y_pred", pred)
    k = len(clusters)
    counts: np.ndarray = np.zeros(len(classes) * k)
    for y, c, w in zip(true, pred, weights, strict=True):
        y, c = y.ravel(), c.ravel()
        for start in range(0, len(y), _LABELS):
            part = slice(start, start + _LABELS)
            codes = code_of_class(y[part]) * k + code_of_cluster(c[part])
            if np.ndim(w) == 0:
                counts += w * np.bincount(codes, minlength=len(counts))
            else:
                counts += np.bincount(codes, w[part], minlength=len(counts))
    counts = counts.reshape(len(classes), k)
    if ignore_label is not None:
        counts[[label == ignore_label for label in classes.tolist()]] = 0
    counted = counts.sum(1) > 0, counts.sum(0) > 0
    return counts[np.ix_(*counted)], classes[counted[0]], clusters[counted[1]]


def _check_not_empty(counts, ignore_label):
    if np.sum(counts) == 0:
        ignored = "" if ignore_label is None else f" other than ignore_label={ignore_label!r}"
        raise ValueError(
            f"y_true has no labels of positive weight{ignored}, but at least one is required. Check the labels and "
            "weights."
        )
    return counts


def _is_list_of_arrays(y):
    return isinstance(y, (list, tuple)) and len(y) > 0 and all(getattr(item, "ndim", 0) >= 1 for item in y)


def _parts(name, y, other):
    """The labels as a list of arrays: one for each label map if y or the other argument is a list, else one."""
    if y is None:
        raise ValueError(f"{name} is None, but labels are required. Pass one label for each sample.")
    if _is_list_of_arrays(y) or _is_list_of_arrays(other):
        return [_labels(name, part) for part in y]
    return [_labels(name, y)]


def _labels(name, y):
    y = as_numpy(to_numpy(y))
    if y.dtype.kind not in "biufUSO":
        raise ValueError(f"{name} has dtype {y.dtype}, but labels must be integers or strings. Convert {name}.")
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise ValueError(f"{name} contains NaN or infinity, but labels must be finite. Remove these samples.")
        if (y != np.floor(y)).any():
            raise ValueError(
                f"{name} contains fractions, but labels must be integers. Take the argmax of probabilities."
            )
    return y


def _coding(name, parts):
    """The sorted unique labels, and a function that maps labels to their indices."""
    if not any(part.size for part in parts):
        raise ValueError(f"{name} is empty, but at least one label is required. Pass labels.")
    if all(part.dtype.kind in "biu" for part in parts):
        filled = [part for part in parts if part.size]
        low, high = min(int(part.min()) for part in filled), max(int(part.max()) for part in filled)
        if high - low < _SPAN and low > -(2**62) and high < 2**62:
            return _table_coding(filled, low, high)
    try:
        labels = np.unique(np.concatenate([np.unique(part) for part in parts]))
    except TypeError as error:
        raise ValueError(
            f"{name} mixes labels that cannot be sorted, such as strings and numbers ({error}). Use one type."
        ) from error
    return labels, lambda part: np.searchsorted(labels, part)


def _table_coding(parts, low, high):
    seen = np.zeros(high - low + 1, bool)
    for part in parts:
        for start in range(0, part.size, _LABELS):
            seen[part.ravel()[start : start + _LABELS].astype(np.int64) - low] = True
    place = np.cumsum(seen) - 1
    labels = (np.flatnonzero(seen) + low).astype(np.result_type(*parts))
    return labels, lambda part: place[part.astype(np.int64) - low]


def _weights(sample_weight, parts, by_map):
    """One weight, or an array of flat weights, for each part."""
    if sample_weight is None:
        return [1.0] * len(parts)
    weights = list(sample_weight) if by_map else [sample_weight]
    if len(weights) != len(parts):
        raise ValueError(
            f"sample_weight has {len(weights)} entries, but there are {len(parts)} label maps. Pass one entry for each."
        )
    flat = []
    for weight, part in zip(weights, parts, strict=True):
        weight = np.asarray(to_numpy(weight), np.float64)
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError(
                "sample_weight contains negative or non-finite values, but weights must be finite and not negative. "
                "Set these weights to 0."
            )
        if weight.shape != part.shape and not (by_map and weight.ndim == 0):
            raise ValueError(
                f"sample_weight has shape {weight.shape}, but the labels have shape {part.shape}. Pass one weight for "
                "each label."
            )
        flat.append(weight.ravel() if weight.ndim else float(weight))
    return flat


def _rows(y, rows):
    return [y[i] for i in rows] if isinstance(y, (list, tuple)) else np.asarray(to_numpy(y))[rows]


def _checked_clusters(clusters, n_clusters):
    if clusters.dtype.kind == "f":
        clusters = clusters.astype(np.int64)  # exact, because labels are integers
    if clusters.dtype.kind not in "biu":
        raise ValueError(
            f"y_pred has dtype {clusters.dtype}, but clusters must be integers from 0. Number the clusters."
        )
    clusters = clusters.astype(np.int64)
    n_clusters = int(clusters.max()) + 1 if n_clusters is None else n_clusters
    if not is_count(n_clusters):
        raise ValueError(f"n_clusters={n_clusters!r} is not valid. Pass an integer of at least 1, or None.")
    if clusters.min() < 0 or clusters.max() >= n_clusters:
        raise ValueError(
            f"y_pred has clusters {clusters.min()} to {clusters.max()}, but with n_clusters={n_clusters} they must lie "
            f"in 0 to {n_clusters - 1}. Raise n_clusters, or number the clusters from 0."
        )
    return clusters, int(n_clusters)
