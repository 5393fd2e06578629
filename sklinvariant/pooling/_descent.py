"""Iterations of a descent until its gradient is small, with reports to callbacks."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from sklinvariant._compat import FitReport
from sklinvariant._warnings import warn
from sklinvariant.base import keeping_last_epoch, progress_bar
from sklinvariant.pooling._pooling_descent import Iterate


def follow(
    iterates: Iterator[Iterate],
    *,
    name: str,
    max_iter: int,
    tol: float,
    reference: float,
    report: FitReport,
    attributes: Callable[[Iterate, list], dict[str, Any]],
    finish: Callable[[Iterate, list], None],
    verbose: int,
    whole: bool = True,
) -> None:
    """Iterate until the residual is at most ``tol`` times ``reference``, then call ``finish`` on the last iterate.

    ``report`` is a `FitReport`; ``attributes(iterate, history)`` returns the fitted attributes for callbacks.
    After a KeyboardInterrupt, ``finish(iterate, history)`` is called for the last finished iteration, and the exception
    is raised again. If the data are not the ``whole``, ``finish`` is not called, so that a part that is passed again
    counts only once.
    """
    start, before = next(iterates), time.perf_counter()
    last = start, [_row(0, start.objective, 0.0)]  # one tuple, so that an interruption never separates them

    def keep():
        iteration = len(last[1]) - 1 if whole else 0
        if iteration:
            finish(*last)
        return iteration

    with keeping_last_epoch(report.estimator, keep, "last finished iteration"):
        with progress_bar(name, max_iter, "iteration", verbose=verbose) as bar:
            while last[0].residual > tol * reference:
                if len(last[1]) > max_iter:
                    warn(
                        f"{name}: max_iter={max_iter} was reached, but the gradient is still "
                        f"{last[0].residual / reference:.1e} of its initial value, above tol={tol:g}. "
                        "Raise max_iter or tol",
                        ConvergenceWarning,
                    )
                    break
                report.begin_epoch()
                here = next(iterates, None)
                if here is not None:
                    now = time.perf_counter()
                    row = _row(len(last[1]), here.objective, now - before)
                    last, before = (here, [*last[1], row]), now
                    bar.set_postfix(objective=f"{here.objective:.4g}", refresh=False)
                    bar.update()
                if report.end_epoch(partial(attributes, *last)) or here is None:
                    break
        finish(*last)
        report.end(dict)  # the fitted attributes are already set


def _row(number, objective, seconds):
    """A row of the history, in which each iteration counts as an epoch and the objective is its loss."""
    return {"epoch": number, "loss": objective, "seconds": seconds, "iteration": number, "objective": objective}
