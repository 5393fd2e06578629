"""The base of the trained estimators and the training loop, with batches, callbacks and checkpoints."""

from sklinvariant.training._batches import BagBatches, Batch, RowBatches
from sklinvariant.training._checkpoint import Checkpoint
from sklinvariant.training._early_stopping import WithEarlyStopping
from sklinvariant.training._loop import OPTIMIZERS, StopTraining, train
from sklinvariant.training._targets import (
    Targets,
    Task,
    as_target,
    check_classes,
    check_same_classes,
    check_same_kind_of_loss,
    encode_targets,
    prepare_targets,
    read_targets,
    task_of_classes,
    weigh,
)
from sklinvariant.training._trained_estimator import TrainedEstimator, Training, WithOptimizer

__all__ = [
    "OPTIMIZERS",
    "BagBatches",
    "Batch",
    "Checkpoint",
    "RowBatches",
    "StopTraining",
    "Targets",
    "Task",
    "TrainedEstimator",
    "Training",
    "WithEarlyStopping",
    "WithOptimizer",
    "as_target",
    "check_classes",
    "check_same_classes",
    "check_same_kind_of_loss",
    "encode_targets",
    "prepare_targets",
    "read_targets",
    "task_of_classes",
    "train",
    "weigh",
]
