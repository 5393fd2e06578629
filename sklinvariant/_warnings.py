"""Warnings that name the user's line."""

import sys
import warnings
from types import FrameType

# packages whose calls lie between the user's line and the function that warns
_PASSED = {"sklinvariant", "sklearn", "skorch", "torch", "joblib", "dask", "contextlib", "functools"}
_PASSED |= {"threading", "concurrent", "multiprocessing"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line that called this package.

    A fixed ``stacklevel`` cannot do this: pipelines, searches, streams and decorators add different numbers of calls.
    In a thread, which the user's line did not call, it is the line that calls this function.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    if frame is None:
        level = 2
    warnings.warn(message, category, stacklevel=level)
