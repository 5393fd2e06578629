"""Early stopping on held-out samples, as in scikit-learn's `MLPClassifier`."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

from sklinvariant.base import Parameters, ShareInside, declared
from sklinvariant.training._targets import Targets


@declared
class WithEarlyStopping(Parameters):
    """Settings of estimators that are trained with labels.

    The data of such an estimator has ``targets`` (`Targets`) and ``take(indices)``, which returns a part of it.

    Parameters
    ----------
    early_stopping : bool
        Whether to hold out ``validation_fraction`` of the labelled samples and to score them after each epoch of `fit`:
        by the accuracy, by R² for a regression, or by the negative loss if the loss is user-defined. Training stops
        when the score has not increased by more than ``tol`` (0 if None) for ``n_iter_no_change`` epochs. The model
        gets the parameters of the best epoch; with ``warm_start`` it keeps the initial parameters unless an epoch is
        better. Callbacks can monitor ``valid_loss`` and ``validation_score``. `partial_fit` does not support it.
    validation_fraction : float
        Share of the labelled samples to hold out for ``early_stopping``, between 0 and 1. The samples are drawn by
        ``random_state``, from each class in proportion to its size. Samples with weight 0 are not used.

    Attributes
    ----------
    validation_scores_ : list of float or None
        Score of the held-out samples after each epoch; None without ``early_stopping``. The rows of ``history_`` also
        contain it, as "validation_score", and the "validation_loss".
    best_validation_score_ : float or None
        The highest of ``validation_scores_``. After a warm start these include the scores of earlier fits, which may
        have held out other samples, but not the score of the model before its first epoch.
    """

    _: KW_ONLY
    early_stopping: bool = False
    validation_fraction: ShareInside = 0.1

    @property
    def validation_scores_(self) -> list[float] | None:
        """Score of the held-out samples after each epoch; None without ``early_stopping``."""
        history: list[dict[str, Any]] = self.history_  # type: ignore[attr-defined]  # of TrainedEstimator
        return [row["validation_score"] for row in history if "validation_score" in row] or None

    @property
    def best_validation_score_(self) -> float | None:
        """The highest of ``validation_scores_``; None without ``early_stopping``."""
        return max(self.validation_scores_ or [], default=None)

    def _check_hold_out(self, targets: Targets) -> None:
        """Raise a ValueError if ``early_stopping`` has too few samples to hold out."""
        if self.early_stopping:
            split_targets(targets, self.validation_fraction, seed=0)

    def _hold_out(self, data: Any, seed: int) -> tuple[Any, Any]:
        if not self.early_stopping:
            return data, None
        train, held_out = split_targets(data.targets, self.validation_fraction, seed)
        return data.take(train), data.take(held_out)

    def _batches_to_score(self, module: Any, held_out: Any) -> list[Any]:
        """Batches of held-out data for ``module.evaluate``."""
        raise NotImplementedError

    def _validation(self, module: Any, held_out: Any, *, of_start: bool) -> Validation | None:
        if held_out is None:
            return None
        return Validation(self._batches_to_score(module, held_out), held_out.targets, of_start=of_start)

    def _check_partial_fit(self) -> None:
        if self.early_stopping:
            raise ValueError(
                "partial_fit does not support early_stopping=True: a part of the samples has no held-out samples. Set "
                "early_stopping=False, and score held-out samples between the calls"
            )


def split_targets(targets: Targets, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the samples to train on and to hold out, stratified if each sample has one class."""
    weight, task = targets.sample_weight, targets.task
    rows = np.arange(len(targets.weight)) if weight is None else np.flatnonzero(weight > 0)
    codes, counts = None, np.array([2])
    if task.classes is not None and task.kind != "multilabel" and targets.values is not None:
        codes = targets.values.cpu().numpy()[rows].reshape(-1)
        counts = np.unique(codes, return_counts=True)[1]
    n, n_held_out, least = len(rows), math.ceil(fraction * len(rows)), max(2, len(counts))
    if min(n_held_out, n - n_held_out) < least or counts.min() < 2:
        classes = "" if codes is None else f", and 2 samples of each class (the smallest class has {counts.min()})"
        raise ValueError(
            f"early_stopping=True with validation_fraction={fraction:g} would hold out {n_held_out} of {n} samples, "
            f"but needs at least {least} samples to hold out and {least} to train on{classes}. "
            "Fit more samples, change validation_fraction, or set early_stopping=False"
        )
    random_state = np.random.RandomState(seed % 2**32)
    train, held_out = train_test_split(rows, test_size=n_held_out, stratify=codes, random_state=random_state)
    return np.sort(train), np.sort(held_out)


class Validation:
    """Called with a module, it returns the loss and the score of held-out samples.

    ``module.evaluate(batch)`` returns the loss of a batch and its outputs (n, n_outputs), or None for a loss without
    outputs, in which case the score is the negative loss. ``of_start`` is True if the parameters before the first epoch
    are a candidate for the best ones.
    """

    def __init__(self, batches: list[Any], targets: Targets, *, of_start: bool) -> None:
        self.batches, self.targets, self.of_start = batches, targets, of_start

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> tuple[float, float]:
        module.eval()
        results = [module.evaluate(batch) for batch in self.batches]  # type: ignore[operator]
        module.train()
        sizes = [len(batch) for batch in self.batches]
        loss = sum(size * float(loss) for size, (loss, _) in zip(sizes, results, strict=True)) / sum(sizes)
        if results[0][1] is None:
            return loss, -loss
        return loss, self.targets.score(torch.cat([outputs for _, outputs in results]))
