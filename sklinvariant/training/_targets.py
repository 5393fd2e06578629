"""Targets of any task as tensors: class numbers, 0/1 labels, real numbers; and the weights of samples and classes."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, check_consistent_length

from sklinvariant._compat import check_sample_weight
from sklinvariant.base import to_numpy


class Task(NamedTuple):
    """The kind of target of a model.

    Parameters
    ----------
    kind : {"binary", "multiclass", "multilabel", "regression", "own"}
        "own" is a user-defined loss.
    classes : array of shape (n_classes,) or None
        The sorted classes. None for a regression or a user-defined loss.
    n_outputs : int
        Number of outputs of the linear model.
    is_1d : bool
        Whether y has one axis, and predictions therefore have one.
    """

    kind: str
    classes: np.ndarray | None
    n_outputs: int
    is_1d: bool

    def export(self) -> dict[str, Any]:
        """The entries of the fitted state."""
        state = {"task": [self.kind, self.n_outputs, self.is_1d]}
        return state if self.classes is None else state | {"classes": self.classes}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Self:
        """The task of a fitted state that contains what `export` returned."""
        kind, n_outputs, is_1d = state["task"]
        return cls(kind, state.get("classes"), n_outputs, is_1d)

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        """Predicted targets, encoded as in `Targets`, from the outputs (n, n_outputs) of a linear model."""
        if self.kind == "regression":
            return outputs
        return outputs.argmax(1) if self.kind == "multiclass" else (outputs > 0).to(torch.int64)


class Targets(NamedTuple):
    """Targets and weights in the form that the losses expect.

    Parameters
    ----------
    task : Task
        The kind of target.
    values : tensor of shape (n,) or (n, n_outputs), or None
        Class numbers (int64), 0/1 labels or real targets. None if a user-defined loss has no targets.
    weight : tensor of shape (n,)
        Weight of each sample, by its class and its sample weight. The mean is 1.
    sample_weight : array of shape (n,) or None
        The sample weights, as given.
    """

    task: Task
    values: torch.Tensor | None
    weight: torch.Tensor
    sample_weight: np.ndarray | None

    def take(self, indices: np.ndarray) -> "Targets":
        """The targets of some of the samples; their mean weight is 1 again."""
        rows = torch.from_numpy(indices)
        weight = self.weight[rows]
        return Targets(
            self.task,
            None if self.values is None else self.values[rows],
            weight / weight.mean(),
            None if self.sample_weight is None else self.sample_weight[indices],
        )

    def score(self, outputs: torch.Tensor) -> float:
        """Accuracy of the predictions, or R² for a regression, weighted by ``sample_weight``."""
        metric = r2_score if self.task.kind == "regression" else accuracy_score
        predicted = self.task.decide(outputs).cpu().numpy()
        expected: Any = self.values
        return float(metric(expected.cpu().numpy(), predicted, sample_weight=self.sample_weight))


def prepare_targets(
    y: Any,
    sample_weight: Any,
    class_weight: dict | str | None,
    *,
    loss: str | Callable,
    task: Task | None,
    n_samples: int,
    dtype: torch.dtype,
    name: str,
    partial: bool,
) -> Targets:
    """`Targets` of a fit, or of a part of the samples if ``partial``; y defines the task if ``task`` is None.

    y must contain two classes, unless it is a part with a given task.
    """
    if partial and isinstance(class_weight, str):
        raise ValueError(
            'class_weight="balanced" is not supported by partial_fit. Pass the weights as a dict, computed with '
            'sklearn.utils.class_weight.compute_class_weight("balanced", classes=..., y=...)'
        )
    check = not partial or task is None
    if task is None:
        task, codes = read_targets(y, loss, n_samples, name)
    else:
        codes = encode_targets(y, task, loss, n_samples, name)
    if task.kind == "regression":
        _check_reach_of_targets(codes, dtype)
    weight, sample_weight = weigh(sample_weight, class_weight, task, codes, n_samples, dtype)
    if check:
        check_classes(task, codes, sample_weight, name)
    return Targets(task, as_target(codes, task, dtype), weight, sample_weight)


def _check_reach_of_targets(y, dtype):
    """Raise a ValueError for targets whose predictions or squares would overflow."""
    largest, limit = np.abs(y).max(initial=0), 1e150 if dtype == torch.float64 else 1e35
    if largest > limit:
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(f"y has values up to {largest:.3g}, but at most {limit:g} is supported in {kind}. Scale y")


def read_targets(y: Any, loss: str | Callable, n_samples: int, name: str) -> tuple[Task, Any]:
    """The `Task` and the targets as numpy: class numbers (n,), or (n, n_outputs)."""
    if y is None:
        if not isinstance(loss, str):
            return Task("own", None, 0, True), None
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None")
    y = to_numpy(y)
    if loss == "squared_error":
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=name)
        check_consistent_length(np.empty(n_samples), y)
        y2d = y.reshape(len(y), -1)
        return Task("regression", None, y2d.shape[1], y.ndim == 1), y2d
    if not isinstance(loss, str):
        y = check_array(y, ensure_2d=False, allow_nd=True, dtype=None, input_name="y", estimator=name)
        check_consistent_length(np.empty(n_samples), y)
        if y.dtype.kind in "biuf":  # only the loss knows what they mean
            return Task("own", None, 0, y.ndim == 1), y
    check_consistent_length(np.empty(n_samples), y)
    check_classification_targets(y)
    if type_of_target(y) == "multilabel-indicator":
        y = check_array(y, accept_sparse=False, input_name="y", estimator=name)
        return Task("multilabel", np.arange(y.shape[1]), y.shape[1], False), y.astype(np.float64)
    y = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y", estimator=name), warn=True)
    classes, codes = np.unique(y, return_inverse=True)
    return _class_task(classes, loss), codes


def encode_targets(y: Any, task: Task, loss: str | Callable, n_samples: int, name: str) -> Any:
    """Targets of a later batch, encoded for a given task."""
    if task.classes is None or task.kind == "multilabel" or y is None:
        now, codes = read_targets(y, loss, n_samples, name)
        if (now.kind, now.n_outputs) != (task.kind, task.n_outputs):
            raise ValueError(
                f"y is {now.kind} of {now.n_outputs} outputs, but {name} was fitted to {task.kind} of {task.n_outputs}"
            )
        return codes
    y = column_or_1d(to_numpy(y))
    check_consistent_length(np.empty(n_samples), y)
    codes = np.searchsorted(task.classes, y).clip(max=len(task.classes) - 1)
    unknown = task.classes[codes] != y
    if unknown.any():
        raise ValueError(f"y has the class {y[unknown][0]}, which is not one of the classes {task.classes.tolist()}")
    return codes


def _class_task(classes, loss):
    n = len(classes)
    if not isinstance(loss, str):
        return Task("own", classes, 0, True)
    return Task("binary" if n == 2 else "multiclass", classes, 1 if n == 2 else n, True)


def task_of_classes(classes: Any, loss: str | Callable) -> Task:
    """The task of ``partial_fit(classes=...)``."""
    return _class_task(np.unique(np.asarray(to_numpy(classes))), loss)


def check_same_classes(classes: Any, fitted: np.ndarray | None, name: str) -> None:
    """Raise a ValueError if ``partial_fit(classes=...)`` passes other classes than the first call."""
    given = np.unique(np.asarray(to_numpy(classes))).tolist()
    expected = None if fitted is None else fitted.tolist()
    if given != expected:
        raise ValueError(
            f"classes={given} is not the same as in the first call of partial_fit of this {name}, {expected}. "
            "Pass the same classes, or None"
        )


def check_same_kind_of_loss(loss: str | Callable, fitted: Task, name: str) -> None:
    """Raise a ValueError if a fit is continued with a loss for targets of another kind."""
    kinds = {"own": "a user-defined loss", "regression": "loss='squared_error'"}
    now = "own" if not isinstance(loss, str) else "regression" if loss == "squared_error" else "classes"
    before = fitted.kind if fitted.kind in kinds else "classes"
    if now != before:
        raise ValueError(
            f"{name} was fitted with {kinds.get(before, 'a loss for classes')} and cannot continue with loss={loss!r}. "
            "Set loss back, set warm_start=False, or fit a clone"
        )


def check_classes(task: Task, codes: Any, sample_weight: np.ndarray | None, name: str) -> None:
    """Raise a ValueError if the samples with positive weight belong to fewer than two classes."""
    if task.kind in ("binary", "multiclass"):
        n = len(np.unique(codes if sample_weight is None else codes[sample_weight > 0]))
        if n < 2:
            raise ValueError(f"{name} needs samples of at least 2 classes, but the data contains only {n} class")


def weigh(
    sample_weight: Any, class_weight: dict | str | None, task: Task, codes: Any, n_samples: int, dtype: torch.dtype
) -> tuple[torch.Tensor, np.ndarray | None]:
    """Weights (n,) with mean 1, and the checked sample weights or None."""
    weight = np.ones(n_samples)
    if sample_weight is not None:
        like = np.empty((n_samples, 1), dtype=np.float64)
        sample_weight = check_sample_weight(to_numpy(sample_weight), like, ensure_non_negative=True)
        if not (sample_weight > 0).any():
            raise ValueError("sample_weight is zero for all samples, but at least one positive weight is required")
        weight = sample_weight.copy()
    if class_weight is not None:
        if task.classes is None or task.kind == "multilabel":
            hint = ". Pass sample_weight" if task.kind == "own" else ""
            raise ValueError(f"class_weight requires classes, but the target is {task.kind}{hint}")
        per_class = compute_class_weight(class_weight, classes=task.classes, y=task.classes[codes])
        weight = weight * per_class[codes]
    mean = weight.mean()
    if mean <= 0:
        raise ValueError("class_weight and sample_weight give no sample a positive weight")
    return torch.as_tensor(weight / mean, dtype=dtype), sample_weight


def as_target(codes: Any, task: Task, dtype: torch.dtype) -> torch.Tensor | None:
    """The tensor that the losses expect: class numbers int64 (n,), or (n, n_outputs) in the compute dtype.

    A user-defined loss gets class numbers if labels are strings, and otherwise the numbers as given: integers as int64,
    floats in the compute dtype.
    """
    if codes is None:
        return None
    if task.kind == "own":
        whole = codes.dtype.kind in "iu"
        return torch.as_tensor(codes.astype(np.int64)) if whole else torch.as_tensor(codes).to(dtype)
    if task.kind == "multiclass":
        return torch.as_tensor(codes, dtype=torch.int64)
    return torch.as_tensor(codes.reshape(len(codes), -1), dtype=dtype)
