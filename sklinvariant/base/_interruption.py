"""What a fit leaves behind when it fails or is interrupted."""

import contextlib
import functools

_KEPT = "_keeps_last_epoch"  # set on an estimator while the interruption of its training is on the way to the caller


def keeps_state_on_failure(method):
    """A fit that fails leaves the estimator as it was before; see `keeping_last_epoch` for the one exception."""

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

    return wrapped


@contextlib.contextmanager
def keeping_last_epoch(estimator, keep, unit="epoch"):
    """KeyboardInterrupt inside this context reaches the caller, and leaves the model of the last finished epoch.

    ``keep()`` sets the fitted attributes to those of that epoch and returns its number. Where no epoch is finished it
    returns 0, and the estimator stays as it was before the fit. That is also the effect of a second interruption while
    ``keep`` runs.
    """
    try:
        yield
    except KeyboardInterrupt as interruption:
        try:
            number = keep()
        except Exception as error:  # a search would go on after any other error than the interruption
            raise interruption from error
        if number:
            vars(estimator)[_KEPT] = True
            interruption.add_note(
                f"{type(estimator).__name__}: training was interrupted; the model is that of the last finished "
                f"{unit}, {number}"
            )
        raise
