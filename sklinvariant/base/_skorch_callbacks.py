"""Checks of skorch callbacks. Training provides the training loss of each epoch, and a validation loss on request."""

from collections.abc import Sequence
from typing import Any

from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    InputShapeSetter,
    LRScheduler,
    PassthroughScoring,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)

_SCORING = (
    "callbacks get no predictions to score. Monitor 'train_loss', score the estimator after fit, or pass "
    "scikit-learn's ScoringMonitor to set_callbacks (scikit-learn 1.9)"
)
_VALIDATION = ("valid_loss", "valid_loss_best", "validation_score")
_NO_GRADIENTS = "contrastive divergence computes no gradients. Remove the callback"


def check_callbacks(
    callbacks: Sequence[Any] | None,
    *,
    decay: str | None = None,
    has_gradients: bool = True,
    early_stopping: bool | None = None,
) -> None:
    """Raise an error for callbacks that would fail during training or have no effect, and say what to use instead.

    ``decay`` is the learning rate decay ("cosine" or None). ``early_stopping`` is True if samples are held out, and
    None for estimators that do not support this. Callbacks of user-defined classes are accepted.
    """
    for position, given in enumerate(callbacks or ()):
        callback = given[1] if isinstance(given, (tuple, list)) and len(given) == 2 else given
        if isinstance(callback, type) and issubclass(callback, Callback):
            callback = callback()  # skorch accepts classes as well
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks[{position}] is {given!r}, but must be a skorch callback or a pair of a name and a skorch "
                "callback. Pass callbacks of scikit-learn to set_callbacks"
            )
        reason = _reason_to_reject(callback, decay, has_gradients, early_stopping)
        if reason:
            raise ValueError(f"callbacks[{position}] ({type(callback).__name__}) cannot be used: {reason}.")


def _reason_to_reject(callback, decay, has_gradients, early_stopping):
    """Why a callback is rejected and what to do instead; None if it is accepted."""
    monitor = getattr(callback, "monitor", None)
    if isinstance(monitor, str) and monitor.startswith("valid") and not (early_stopping and monitor in _VALIDATION):
        if early_stopping:
            return f"monitor={monitor!r} is not recorded. Use one of {', '.join(map(repr, _VALIDATION))}"
        instead = "train" + monitor.removeprefix("valid") if monitor.startswith("valid_loss") else "train_loss"
        hint = "" if early_stopping is None else ", or set early_stopping=True"
        return f"there is no validation data to compute monitor={monitor!r} from. Use monitor={instead!r}{hint}"
    if isinstance(callback, (EpochScoring, BatchScoring)):
        return _SCORING
    if isinstance(callback, PassthroughScoring) and not callback.on_train:
        return f"there are no validation batches with a {callback.name!r}. Use on_train=True"
    if isinstance(callback, InputShapeSetter):
        return "the shape of the network is already derived from the data. Remove the callback"
    if isinstance(callback, (Checkpoint, TrainEndCheckpoint)) and callback.f_pickle is not None:
        return f"training cannot be pickled to f_pickle={callback.f_pickle!r}. Pickle the estimator after fit"
    if isinstance(callback, WandbLogger) and callback.save_model and not early_stopping:
        return "save_model=True needs a validation loss, but there is none. Use save_model=False"
    if isinstance(callback, LRScheduler) and decay is not None:
        return f"the learning rate already follows a {decay} decay. Set learning_rate_decay=None"
    if isinstance(callback, (GradientNormClipping, Freezer, Unfreezer)) and not has_gradients:
        return _NO_GRADIENTS
    return None
