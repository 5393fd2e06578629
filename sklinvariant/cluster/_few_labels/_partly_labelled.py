"""Classifiers of partly labelled samples: selection of the labelled samples, and the score on them."""

from numbers import Number
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklinvariant.base import Computing, as_numpy, to_numpy


class PartlyLabelledClassifier(Computing, ClassifierMixin):
    """Mixin of classifiers with ``predict`` and a parameter ``unlabeled_value``, which marks unlabelled samples."""

    unlabeled_value: Any

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on the labelled samples. Samples with the label ``unlabeled_value`` are ignored.

        Parameters
        ----------
        X : n samples
            Samples, as the clusterer takes them.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the samples.

        Returns
        -------
        float
            The accuracy, between 0 and 1.
        """
        labels, labelled = self._check_labels(y)
        weight = None if sample_weight is None else np.asarray(to_numpy(sample_weight))[labelled]
        predicted = as_numpy(to_numpy(self.predict(X)))
        return accuracy_score(labels, predicted[labelled], sample_weight=weight)

    @property
    def n_features_in_(self) -> int:
        """Number of features seen by the clusterer during fit."""
        return self._of_clusterer("n_features_in_")

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features seen by the clusterer during fit."""
        return self._of_clusterer("feature_names_in_")

    def _of_clusterer(self, name):
        if not hasattr(self, "clusterer_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.clusterer_, name)

    def _check_labels(self, y):
        """The labels of the labelled samples, and a mask of these samples."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        y = column_or_1d(to_numpy(y), warn=True)
        labelled = np.ones(len(y), bool)
        if self.unlabeled_value is not None:
            if y.dtype.kind in "US" and not isinstance(self.unlabeled_value, str) and str(self.unlabeled_value) in y:
                raise ValueError(
                    f"y contains the string {str(self.unlabeled_value)!r}, but string labels with unlabeled_value="
                    f"{self.unlabeled_value!r} must have dtype object. Pass np.array(y, dtype=object)."
                )
            labelled = np.array([not _is(label, self.unlabeled_value) for label in y.tolist()], bool)
        if not labelled.any():
            raise ValueError(
                f"y has no label: all {len(y)} samples are unlabeled_value={self.unlabeled_value!r}, but at least one "
                "class is required. Label some samples, or set unlabeled_value=None."
            )
        labels = y[labelled]
        _refuse_missing(labels)
        if labels.dtype == object and all(isinstance(label, Number) for label in labels):
            labels = np.array(labels.tolist())
        check_classification_targets(labels)
        return labels, labelled


def _is(label, value):
    """Whether both are equal. The NA of pandas is equal to nothing."""
    equal = label == value
    return isinstance(equal, (bool, np.bool_)) and bool(equal)


def _refuse_missing(y):
    if any(label is None or not _is(label, label) for label in y.tolist()):
        raise ValueError(
            "Input y contains NaN or None, but labels must not be missing. Mark unlabelled samples by unlabeled_value."
        )
