"""Prediction with the linear model of a learned aggregation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags, Tags
from sklearn.utils.metaestimators import available_if
from torch import nn

from sklinvariant.bags import BAGS
from sklinvariant.base import (
    Anything,
    Array,
    Check,
    Computing,
    Each,
    FittedState,
    Function,
    Input,
    Labels,
    Maybe,
    RealNumber,
    Weights,
    check_computed,
    probabilities,
    to_numpy,
)
from sklinvariant.networks import LinearLoss, map_features
from sklinvariant.training import Task


def _predicts(*losses):
    def check(self):
        if self.loss not in losses:
            raise AttributeError(f"not available with loss={self.loss!r}")
        return True

    return available_if(check)


class LinearPredictor(Computing):
    """Mixin with the prediction methods of an `Aggregator` that has ``loss``, ``weight_decay`` and ``feature_map``."""

    # attributes of the class that uses the mixin
    _shared_docs = BAGS
    loss: Any
    weight_decay: float
    feature_map: Any
    _state: dict[str, Any]
    _n_features_out: int
    _read: Callable[..., Input]
    _encode_bags: Callable[..., Any]
    _representation_module: Callable[[torch.dtype], nn.Module]

    _layout: dict[str, Check] = {
        "task": Each(Anything(), 3),
        "coef": Maybe(Array("o", "f")),
        "intercept": Maybe(Array("o")),
        "gain": Maybe(RealNumber()),
        "target_scale": Maybe(RealNumber()),
        "encoder": Maybe(Weights()),
        "cost": Maybe(Weights()),  # a user-defined loss with parameters
        "classes": Maybe(Array("c", kinds="biufUO")),
    }
    classes_ = FittedState("Class labels.")
    coef_ = FittedState("Weights of the linear model, (n_outputs, n_features).")
    intercept_ = FittedState("Offsets of the linear model, (n_outputs,).")

    def _check_layout(self):
        task, state = self._task, self._state
        if task.kind == "own":
            return
        coef, classes = state["coef"], state.get("classes")
        if coef is None or state["intercept"] is None or state["gain"] is None:
            raise ValueError(f"a model for a {task.kind} target requires coef, intercept and gain")
        width = map_features(torch.zeros(1, self._n_features_out), self.feature_map).shape[1]
        if coef.shape != (task.n_outputs, width):
            raise ValueError(f"coef should be of shape {(task.n_outputs, width)}, got {coef.shape}")
        n_classes = {"binary": 2, "regression": None}.get(task.kind, task.n_outputs)
        if task.kind not in ("binary", "multiclass", "multilabel", "regression") or n_classes != (
            None if classes is None else len(classes)
        ):
            raise ValueError(f"classes do not match a {task.kind!r} target with {task.n_outputs} outputs")

    @_predicts("log_loss", "hinge", "squared_hinge", "squared_error")
    def predict(self, X: Any) -> Any:
        """Class, 0/1 labels or real targets of each bag.

        Returns
        -------
        array of shape (n,) or (n, n_outputs)
        """
        outputs, given = self._outputs(X)
        task = self._task
        predicted = task.decide(outputs)
        if task.kind in ("regression", "multilabel"):
            return given.answer(predicted[:, 0] if task.is_1d else predicted)
        labels = task.classes[predicted.flatten().cpu().numpy()]
        return given.answer(labels) if labels.dtype.kind in "biuf" else labels  # tensors cannot hold strings

    @_predicts("log_loss", "hinge", "squared_hinge")
    def decision_function(self, X: Any) -> Any:
        """Linear scores of the classes.

        Returns
        -------
        array of shape (n, n_classes), or (n,) for two classes
            For two classes, the score of the second one.
        """
        outputs, given = self._outputs(X)
        return given.answer(outputs[:, 0] if self._task.kind == "binary" else outputs)

    @_predicts("log_loss")
    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes, or of each label independently.

        Returns
        -------
        array of shape (n, n_classes) or (n, n_labels)
        """
        outputs, given = self._outputs(X)
        return given.answer(self._probabilities()(outputs[:, 0] if self._task.kind == "binary" else outputs))

    @_predicts("log_loss")
    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities.

        Returns
        -------
        array of the shape of `predict_proba`
        """
        probability = self.predict_proba(X)
        return probability.log() if isinstance(probability, torch.Tensor) else _log(probability)

    @_predicts("log_loss", "hinge", "squared_hinge", "squared_error")
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a classifier, R² of a regressor.

        Parameters
        ----------
        y : array-like of shape (n,) or (n, n_outputs)
            Classes, 0/1 indicators of several labels, or real numbers.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the bags.

        Returns
        -------
        float
        """
        metric = r2_score if self.loss == "squared_error" else accuracy_score
        weight = None if sample_weight is None else to_numpy(sample_weight)
        return float(metric(to_numpy(y), to_numpy(self.predict(X)), sample_weight=weight))

    def _outputs(self, X):
        """Scores (n, n_outputs) of the linear model, and the `Input` of X."""
        given = self._read(X)
        with torch.no_grad():
            mapped = map_features(self._encode_bags(given), self.feature_map)
            outputs = self._restore_loss(mapped.dtype).to(mapped.device).outputs(mapped)
        return check_computed(self, outputs), given

    def _modules_of_methods(self, dtype):
        def scores():
            representation = self._representation_module(dtype)
            outputs = LinearOutputs(self._restore_loss(dtype), self.feature_map, one=self._has_one_output())
            return nn.Sequential(representation, outputs)

        return {
            "transform": lambda: self._representation_module(dtype),
            "decision_function": scores,
            "predict_proba": lambda: nn.Sequential(scores(), Function(self._probabilities())),
            "predict": lambda: self._predictions(scores()),
        }

    def _has_one_output(self):
        """Whether answers have no axis of outputs."""
        return self._task.kind == "binary" or (self._task.kind == "regression" and self._task.is_1d)

    def _probabilities(self):
        return torch.sigmoid if self._task.kind == "multilabel" else probabilities

    def _predictions(self, scores):
        if self._task.kind in ("binary", "multiclass"):
            return Labels(scores, self._task.classes)
        return scores if self._task.kind == "regression" else nn.Sequential(scores, Function(_positive))

    def _restore_loss(self, dtype):
        return LinearLoss.restore(self._state, self.loss, self.weight_decay, dtype)

    @property
    def _task(self):
        return Task.restore(self._state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.required = isinstance(self.loss, str)
        if self.loss == "squared_error":
            tags.estimator_type = "regressor"
            tags.regressor_tags = RegressorTags()
            tags.target_tags.multi_output = True
        elif isinstance(self.loss, str):
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags


class LinearOutputs(nn.Module):
    """The outputs (n, n_outputs) of the linear model for representations, or (n,) with ``one``."""

    def __init__(self, loss: LinearLoss, feature_map: Any, *, one: bool) -> None:
        super().__init__()
        self.loss, self.feature_map, self.one = loss, feature_map, one

    def forward(self, representation: torch.Tensor) -> torch.Tensor:
        outputs = self.loss.outputs(map_features(representation, self.feature_map))
        return outputs[:, 0] if self.one else outputs


def _positive(scores):
    return (scores > 0).to(torch.int64)


def _log(array):
    if isinstance(array, np.ndarray):
        with np.errstate(divide="ignore"):
            return np.log(array)
    return array.__array_namespace__().log(array)
