"""The state of an estimator after a fit that failed or was interrupted."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

_KEPT = "_kept_estimator"  # attribute of the KeyboardInterrupt: the id of the estimator that keeps its last epoch


@contextlib.contextmanager
def restoring_on_failure(estimator: Any) -> Iterator[None]:
    """Restore the attributes of the estimator after an error or an interruption, except by `keeping_last_epoch`."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException as error:
        if getattr(error, _KEPT, None) != id(estimator):
            vars(estimator).clear()
            vars(estimator).update(before)
            if isinstance(error, KeyboardInterrupt):
                _note_no_checkpoint(estimator, error)
        raise


def _note_no_checkpoint(estimator, interruption):
    """Say that a fit cannot be resumed, if it would write a checkpoint but has not."""
    path = getattr(estimator, "checkpoint", None)
    if isinstance(path, (str, os.PathLike)) and not os.path.exists(path):
        note = (
            f"{type(estimator).__name__}: nothing was kept of this fit; checkpoint={str(path)!r}, which is written "
            "after each epoch, does not exist"
        )
        if note not in getattr(interruption, "__notes__", ()):  # the methods fit_predict and fit each come here
            interruption.add_note(note)


@contextlib.contextmanager
def keeping_last_epoch(estimator: Any, keep: Callable[[], int], kept: str = "last finished epoch") -> Iterator[None]:
    """Keep the model of the last finished epoch on KeyboardInterrupt, which still reaches the caller.

    ``keep()`` sets the fitted attributes to those of that epoch and returns its number; ``kept`` describes the epoch.
    If no epoch is finished it returns 0, and the estimator is restored to its state before the fit. A second
    interruption while ``keep`` runs has the same effect.
    """
    try:
        yield
    except KeyboardInterrupt as interruption:
        try:
            number = keep()
        except Exception as error:  # a grid search continues after any other error than the interruption
            raise interruption from error
        if number:
            setattr(interruption, _KEPT, id(estimator))
            interruption.add_note(
                f"{type(estimator).__name__}: training was interrupted; the model is that of the {kept}, {number}"
            )
        raise
