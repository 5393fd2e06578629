"""Follows a descent until its gradient is small, and tells whoever looks on."""

import time
import warnings
from functools import partial

from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm

from sklinvariant.base import keeping_last_epoch


def follow(iterates, *, name, max_iter, tol, reference, report, attributes, finish, verbose, whole=True):
    """Take iterates until their residual is ``tol`` of the ``reference``; ``finish`` sets the attributes of the last.

    ``report`` is a `FitReport`; ``attributes(iterate, history)`` gives what a callback needs to see a fitted model.
    KeyboardInterrupt is raised again after ``finish(iterate, history)`` was called for the last finished iteration; or
    at once where the data are not the ``whole``, so that a part counts once when it is given again.
    """
    here, before = next(iterates), time.perf_counter()
    last = here, [_row(0, here.objective, 0.0)]  # in one piece, for interruptions

    def keep():
        iteration = len(last[1]) - 1 if whole else 0
        if iteration:
            finish(*last)
        return iteration

    with keeping_last_epoch(report.estimator, keep, "last finished iteration"):
        with tqdm(total=max_iter, desc=name, unit="iteration", disable=not verbose) as bar:
            while last[0].residual > tol * reference:
                if len(last[1]) > max_iter:
                    warnings.warn(
                        f"{name}: max_iter={max_iter} was reached with the gradient at "
                        f"{last[0].residual / reference:.1e} of its start, above tol={tol:g}",
                        ConvergenceWarning,
                        stacklevel=2,
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
        report.end(dict)  # the estimator is fitted as it is: no attribute has to be set


def _row(number, objective, seconds):
    """Of the history: an iteration is an epoch, and the objective its loss."""
    return {"epoch": number, "loss": objective, "seconds": seconds, "iteration": number, "objective": objective}
