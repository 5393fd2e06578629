"""The fitted state of `IICClassifier`, and the predictions of its network."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, MetaEstimatorMixin, TransformerMixin
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklinvariant.base import (
    Array,
    FittedState,
    Function,
    Labels,
    Maybe,
    RealNumber,
    TorchEstimator,
    Weights,
    Whole,
    probabilities,
    restore_weights,
)
from sklinvariant.cluster._few_labels._class_network import ClassAnswers, ClassNetwork
from sklinvariant.cluster._few_labels._partly_labelled import PartlyLabelledClassifier
from sklinvariant.cluster._few_labels._view_features import mean_features
from sklinvariant.cluster._iic._fitted_clusters import samples_of
from sklinvariant.cluster._iic._pair_sources import views_of
from sklinvariant.pairs import same


class FittedClasses(
    ClassNamePrefixFeaturesOutMixin, PartlyLabelledClassifier, TransformerMixin, MetaEstimatorMixin, TorchEstimator
):
    """What `IICClassifier` has learned: the trunk, and the linear model of the classes on its features."""

    _layout = {
        "trunk": Weights(),
        "coef": Array("o", "f"),
        "intercept": Array("o"),
        "gain": RealNumber(),
        "row_gain": Maybe(RealNumber()),
        "classes": Array("c", kinds="biufUO"),
        "seed": Whole(0),
    }
    _shared_docs = """
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])
            Rows or images, in the format that the clusterer requires.
        """
    classes_ = FittedState("Class labels.")
    coef_ = FittedState("Weights of the linear model on the output of transform.")
    intercept_ = FittedState("Offsets of the linear model.")

    def _check_layout(self):
        (n_outputs, width), n_classes = self._state["coef"].shape, len(self._state["classes"])
        expected = self._inner._state["n_trunk_features"]
        if self._state.get("row_gain") is not None:
            expected += self._inner._state["sample_shape"][-1]
        if width != expected or n_outputs != (1 if n_classes == 2 else n_classes):
            raise ValueError(
                f"coef of shape {(n_outputs, width)} does not match {n_classes} classes and {expected} features"
            )

    def transform(self, X: Any) -> Any:
        """The features of the fine-tuned trunk, averaged over the views, and the scaled rows with ``passthrough``.

        Returns
        -------
        array of shape (n, n_features_out)
            n_features_out is the number of features of the trunk, plus that of the rows with ``passthrough``.
        """
        given = self._read(X)
        return given.answer(self._features(given)[0])

    def decision_function(self, X: Any) -> Any:
        """Linear score of each class, or of the second class if there are two.

        Returns
        -------
        array of shape (n, n_classes), or (n,) for two classes
        """
        given = self._read(X)
        scores = self._scores(given)
        return given.answer(scores[:, 0] if scores.shape[1] == 1 else scores)

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithm of the probability of each class.

        Returns
        -------
        array of shape (n, n_classes)
            In the order of ``classes_``.
        """
        given = self._read(X)
        return given.answer(_both(self._scores(given)).log_softmax(1))

    def predict_proba(self, X: Any) -> Any:
        """Probability of each class.

        Returns
        -------
        array of shape (n, n_classes)
            In the order of ``classes_``.
        """
        given = self._read(X)
        return given.answer(_both(self._scores(given)).softmax(1))

    def predict(self, X: Any) -> Any:
        """Predict the most likely class of each sample.

        Returns
        -------
        array of shape (n,)
        """
        given = self._read(X)
        labels = self.classes_[_both(self._scores(given)).argmax(1).cpu().numpy()]
        return given.answer(labels) if labels.dtype.kind in "biuf" else labels

    @property
    def _inner(self):
        """The fitted `IICClusterer`."""
        return self.clusterer_.estimator if isinstance(self.clusterer_, FrozenEstimator) else self.clusterer_

    def _views(self, samples):
        if self.transforms == "clusterer":
            return views_of(self._inner, samples.ndim, samples.shape[-1])
        return same if self.transforms is None else self.transforms

    def _features(self, given):
        """Features (n, D), and the network."""
        samples = samples_of(given)
        network = self._network(samples)
        views = self._views(samples)
        n_views = 1 if views is same else self.n_views
        return mean_features(network, samples, views, n_views, self._state["seed"]), network

    def _network(self, samples):
        """The fitted network, on the device and in the precision of samples."""
        trunk = self._inner._network(samples)
        restore_weights(trunk.trunk, self._state["trunk"], self)
        return ClassNetwork.restore(trunk, self._state, self.weight_decay)

    def _scores(self, given):
        features, network = self._features(given)
        with torch.no_grad():
            return network.head.outputs(features)

    def _modules_of_methods(self, dtype):
        def network(**answer):
            like = torch.empty(0, dtype=dtype)
            if self.n_views > 1 and self._views(like.reshape(0, *self._inner._state["sample_shape"])) is not same:
                raise ValueError(
                    f"the answers of this {type(self).__name__} are means over n_views={self.n_views} random views, "
                    "which cannot be exported. Set n_views=1."
                )
            return ClassAnswers(self._network(like), **answer)

        scores = partial(network, scores=True)
        return {
            "transform": network,
            "predict_proba": lambda: nn.Sequential(scores(), Function(probabilities)),
            "decision_function": scores,
            "predict": lambda: Labels(scores(), self.classes_),
        }

    @property
    def _n_features_out(self):
        return self.coef_.shape[1]


def _both(scores):
    """Scores (n, n_classes), also for two classes, which have a single score, that of the second class."""
    return torch.nn.functional.pad(scores, (1, 0)) if scores.shape[1] == 1 else scores
