"""Warnings that name the user's line."""

import sys
import warnings

# packages whose calls lie between the user's line and the function that warns
_PASSED = {"sklinvariant", "sklearn", "skorch", "torch", "joblib", "dask", "contextlib", "functools"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line that called this package.

    A fixed ``stacklevel`` cannot do this: pipelines, searches, streams and decorators add different numbers of calls.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
