"""A classifier from any clusterer and a few labels (section 4.1 of Ji, Henriques, Vedaldi 2019).

Semi-supervised overclustering: k clusters, more than the c classes, are learned without labels. Labels are only used to
assign a class to each cluster.
"""

from __future__ import annotations

import copy
import os
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import Tags, check_consistent_length, gen_batches, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from torch import nn

from sklinvariant._compat import HasMethods, fit_context, raise_for_params, safe_indexing
from sklinvariant._warnings import warn
from sklinvariant.base import (
    Array,
    FittedState,
    Flag,
    Function,
    Labels,
    TorchEstimator,
    as_numpy,
    declared,
    refuse_none,
    to_module,
    to_numpy,
)
from sklinvariant.cluster._few_labels._partly_labelled import PartlyLabelledClassifier

_ROWS = 1 << 13  # samples processed at a time


@declared
class OverclusteringClassifier(PartlyLabelledClassifier, MetaEstimatorMixin, TorchEstimator):
    r"""Learn clusters without labels, then assign classes to them from a few labels.

    The labels in each cluster are counted, which gives :math:`P(y \mid c)`, and

    .. math:: P(y \mid x) = \sum_c P(y \mid c)\, P(c \mid x)

    where :math:`P(c \mid x)` is the clusterer's ``predict_proba``, or 1 for the cluster of ``predict`` if the clusterer
    has no ``predict_proba``. The most likely class is predicted. For hard clusters this is the paper's many-to-one map,
    which assigns to each cluster its most frequent class.

    `IICClassifier` is more accurate, with few and with many labels. With more than one label per class, so is a
    logistic regression. Use this class for clusterers that have no network to train, or for the method of the paper.

    Parameters
    ----------
    clusterer : estimator with ``fit`` and ``predict``
        A clone is fitted to all samples without labels. More clusters are purer, but need more labels. For an
        `IICClusterer` and few labels, choose as many clusters as classes: on digits, 4 to 8 times as many were better
        with 30 labels per class, but not with 6. For k-means, whose clusters are less pure, 4 to 8 times as many were
        better even with 3. Set its parameters with ``clusterer__…``. To use a fitted clusterer, wrap it in a
        `sklearn.frozen.FrozenEstimator`.
    unlabeled_clusters : {"nearest", "prior"}
        Class probabilities of clusters without labels. "nearest" takes those of the nearest cluster with labels; the
        distance is that of the cluster means, in the features of the clusterer's ``transform`` if it has one. "prior"
        takes the class frequencies of all labels. Clusters without samples always take the prior.
    unlabeled_value : label or None
        Value of y that marks unlabelled samples. Set None if all samples are labelled and -1 is a class.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted class labels, without ``unlabeled_value``.
    clusterer_ : estimator
        The fitted clusterer.
    clusters_ : ndarray of shape (n_clusters,)
        The clusterer's cluster labels: those that occur in X, or all if it has ``predict_proba``.
    cluster_counts_ : ndarray of shape (n_clusters, n_classes)
        Number of labels of each class in each cluster.
    cluster_proba_ : ndarray of shape (n_clusters, n_classes)
        Share of each class among the labels of each cluster, :math:`P(y \mid c)`.
    cluster_classes_ : ndarray of shape (n_clusters,)
        The class assigned to each cluster.
    class_prior_ : ndarray of shape (n_classes,)
        Share of each class in the labels.

    References
    ----------
    X. Ji, J. F. Henriques, A. Vedaldi: Invariant Information Clustering for Unsupervised Image Classification and
    Segmentation, 2019; section 4.1, figure 6.

    Examples
    --------
    50 labels for 1797 digits:

    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from sklinvariant.cluster import OverclusteringClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> few = y.copy()
    >>> few[50:] = -1
    >>> model = OverclusteringClassifier(KMeans(40, random_state=0)).fit(X, few)
    >>> model.score(X[50:], y[50:]) > 0.8
    True

    A clusterer that is fitted already:

    >>> from sklearn.frozen import FrozenEstimator
    >>> fitted = FrozenEstimator(KMeans(40, random_state=0).fit(X))
    >>> OverclusteringClassifier(fitted).fit(X[:50], y[:50]).score(X[:50], y[:50]) > 0.9
    True
    """

    _fits_shards = False
    _layout = {
        "classes": Array("c", kinds="biufUO"),
        "clusters": Array("k", kinds="biufUO"),
        "cluster_counts": Array("k", "c", kinds="iu"),
        "cluster_proba": Array("k", "c"),
        "class_prior": Array("c"),
        "is_single": Flag(),
    }
    clusterer: Annotated[Any, HasMethods(["fit", "predict"])]
    _: KW_ONLY
    unlabeled_clusters: Literal["nearest", "prior"] = "nearest"
    unlabeled_value: Any = -1
    classes_ = FittedState("Class labels.")
    clusters_ = FittedState("The clusterer's cluster labels.")
    cluster_counts_ = FittedState("Labels in each cluster.")
    cluster_proba_ = FittedState("P(y | c).")
    class_prior_ = FittedState("Share of each class in the labels.")

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit the clusterer to all samples, and count the labels in each cluster.

        Parameters
        ----------
        X : n samples as the clusterer accepts them
            Samples.
        y : array-like of shape (n,)
            Labels, or ``unlabeled_value`` for unlabelled samples. String labels together with -1 must have dtype
            object, as in `sklearn.semi_supervised`, because an array of strings would convert -1 to a string.
        **params : dict
            Metadata for the clusterer's ``fit``, which must have requested it. Requires metadata routing.

        Raises
        ------
        ValueError
            If no sample is labelled.
        """
        raise_for_params(params, self, "fit")
        self._kind_of(X)
        labels, labelled = self._check_labels(y)
        check_consistent_length(X, labelled)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) == 1 and not labelled.all():
            warn(
                f"all labels are {classes.tolist()[0]!r}, and samples with label {self.unlabeled_value!r} count as "
                "unlabelled. If this label is a class, set unlabeled_value=None.",
                UserWarning,
            )
        self.clusterer_ = clone(self.clusterer).fit(X, None, **process_routing(self, "fit", **params).clusterer.fit)
        clusters, members = self._clusters_of_rows(X, len(labelled))
        counts = np.zeros((len(clusters), len(classes)))
        np.add.at(counts, (members[labelled], codes), 1)
        prior = counts.sum(0) / counts.sum()
        known = counts.sum(1) > 0
        proba = np.where(known[:, None], counts / np.maximum(counts.sum(1), 1)[:, None], prior)
        if self.unlabeled_clusters == "nearest" and not known.all():
            lonely, nearest = self._nearest_known(X, members, known)
            proba[lonely] = proba[nearest]
        self._state = {
            "classes": classes,
            "clusters": clusters,
            "cluster_counts": counts.astype(np.int64),
            "cluster_proba": proba,
            "class_prior": prior,
            "is_single": getattr(getattr(self.clusterer_, "cluster_centers_", X), "dtype", None) == np.float32,
        }
        return self

    def predict(self, X: Any) -> Any:
        """Predict the most likely class of each sample.

        Returns
        -------
        ndarray of shape (n,)
            Predicted classes.
        """
        kind = self._kind_of(X)
        labels = self.classes_[self._proba(X).argmax(1)]
        return kind.wrap(labels) if labels.dtype.kind in "biuf" else labels

    def predict_proba(self, X: Any) -> Any:
        """Predict class probabilities: the share of each class among the labels of a sample's cluster or clusters.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        kind = self._kind_of(X)
        return kind.wrap(self._proba(X))

    @property
    def cluster_classes_(self) -> np.ndarray:
        """The class assigned to each cluster."""
        return self.classes_[self.cluster_proba_.argmax(1)]

    def get_metadata_routing(self) -> MetadataRouter:
        """Get the metadata routing: metadata passed to ``fit`` is routed to the clusterer's ``fit``.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        return MetadataRouter(owner=self).add(
            clusterer=self.clusterer, method_mapping=MethodMapping().add(caller="fit", callee="fit")
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.clusterer)
        tags.input_tags = copy.deepcopy(inner.input_tags)
        tags.non_deterministic = inner.non_deterministic
        tags.array_api_support = False  # counts are numpy's, whatever the clusterer's arrays are
        return tags

    def _modules_of_methods(self, dtype):
        if not hasattr(self.clusterer_, "predict_proba"):
            return {}

        def probabilities():
            clusters = to_module(self.clusterer_, "predict_proba", dtype=dtype)
            return nn.Sequential(clusters, Function(_classes_of, shares=self.cluster_proba_))

        return {"predict_proba": probabilities, "predict": lambda: Labels(probabilities(), self.classes_)}

    def _kind_of(self, X):
        """The kind of array in which answers are returned. Only the clusterer reads X."""
        refuse_none(type(self).__name__, X, "samples")
        if isinstance(X, (str, os.PathLike)):
            raise ValueError(
                f"X holds text, {os.fspath(X)!r:.200}, but {type(self).__name__} needs one item for each sample. Pass "
                "an array, or a list of file names if the clusterer reads files"
            )
        return self._reader.kind_of(X)

    def _clusters_of_rows(self, X, n):
        """The cluster labels, and the index of each sample's cluster."""
        if not hasattr(self.clusterer_, "predict_proba"):
            return np.unique(as_numpy(to_numpy(self.clusterer_.predict(X))), return_inverse=True)
        best = [
            (proba.argmax(1), proba.shape[1])
            for proba in (as_numpy(to_numpy(self.clusterer_.predict_proba(part))) for part, _ in _parts_of_rows(X, n))
        ]
        return np.arange(best[0][1]), np.concatenate([places for places, _ in best])

    def _nearest_known(self, X, members, known):
        """Clusters with samples but no labels, and for each the nearest cluster with labels."""
        sums: Any = 0
        sizes = np.bincount(members, minlength=len(known))
        for part, rows in _parts_of_rows(X, len(members)):
            features = _as_rows(self.clusterer_.transform(part) if hasattr(self.clusterer_, "transform") else part)
            n, places = len(members[rows]), members[rows]
            sums = sums + csr_matrix((np.ones(n), (places, np.arange(n))), shape=(len(known), n)) @ features
        means = (sums.toarray() if issparse(sums) else sums) / np.maximum(sizes, 1)[:, None]
        means /= np.abs(means).max() or 1  # so that squares do not overflow
        lonely, labelled = np.flatnonzero(~known & (sizes > 0)), np.flatnonzero(known)
        if not len(lonely):
            return lonely, lonely
        return lonely, labelled[euclidean_distances(means[lonely], means[labelled]).argmin(1)]

    def _proba(self, X):
        if isinstance(X, np.ndarray) and X.dtype in (np.float32, np.float64):
            # some clusterers, such as KMeans, fail if the precision differs from that in fit
            X = X.astype(np.float32 if self._state["is_single"] else np.float64, copy=False)
        if hasattr(self.clusterer_, "predict_proba"):
            of_clusters = as_numpy(to_numpy(self.clusterer_.predict_proba(X)))
            proba = of_clusters.astype(np.float64) @ self.cluster_proba_
            return proba / proba.sum(1, keepdims=True)  # in float32, sums differ from 1 by rounding
        names = as_numpy(to_numpy(self.clusterer_.predict(X)))
        places = np.minimum(np.searchsorted(self.clusters_, names), len(self.clusters_) - 1)
        is_new = self.clusters_[places] != names  # clusters without samples in fit
        return np.where(is_new[:, None], self.class_prior_, self.cluster_proba_[places])


def _parts_of_rows(X, n):
    """Blocks of samples and their indices."""
    if n <= _ROWS:
        yield X, slice(0, n)
        return
    if not hasattr(X, "__getitem__"):  # an object that can only be converted to an array
        X = np.asarray(X)
    for rows in gen_batches(n, _ROWS):
        yield safe_indexing(X, rows), rows


def _classes_of(clusters, shares):
    """Probabilities of classes from those of clusters, and the shares of the classes of each cluster."""
    classes = clusters @ shares
    return classes / classes.sum(1, keepdim=True)


def _as_rows(features):
    """Features, or samples of any shape, as numeric rows; sparse matrices stay sparse."""
    if issparse(features):
        return features.tocsr()
    try:
        features = as_numpy(to_numpy(features))
        return features.reshape(len(features), -1).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            'unlabeled_clusters="nearest" requires numeric features, but neither X nor the clusterer\'s transform of X '
            f'is numeric. Set unlabeled_clusters="prior" ({error}).'
        ) from error
