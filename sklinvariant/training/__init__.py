"""The base of the trained estimators and the training loop, with batches, callbacks and checkpoints."""

from sklinvariant.training._batches import BagBatches, Batch, RowBatches
from sklinvariant.training._early_stopping import WithEarlyStopping
from sklinvariant.training._targets import (
    Targets,
    Task,
    check_same_classes,
    check_same_kind_of_loss,
    prepare_targets,
    task_of_classes,
)
from sklinvariant.training._trained_estimator import TrainedEstimator, Training, WithOptimizer

__all__ = [
    "BagBatches",
    "Batch",
    "RowBatches",
    "Targets",
    "Task",
    "TrainedEstimator",
    "Training",
    "WithEarlyStopping",
    "WithOptimizer",
    "check_same_classes",
    "check_same_kind_of_loss",
    "prepare_targets",
    "task_of_classes",
]
