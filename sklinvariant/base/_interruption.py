"""The state of an estimator after a fit that failed or was interrupted."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

from sklinvariant._settings import P, R

_KEPT = "_keeps_last_epoch"  # set on an estimator while the KeyboardInterrupt propagates to the caller


def keeps_state_on_failure(method: Callable[P, R]) -> Callable[P, R]:
    """Wrap a fit so that a failure restores the estimator; `keeping_last_epoch` is the only exception."""

    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            if not vars(self).pop(_KEPT, False):
                vars(self).clear()
                vars(self).update(before)
            raise

    return cast(Callable[P, R], wrapped)


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
            vars(estimator)[_KEPT] = True
            interruption.add_note(
                f"{type(estimator).__name__}: training was interrupted; the model is that of the {kept}, {number}"
            )
        raise
