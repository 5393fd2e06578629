"""Follows a descent until its gradient is small, and tells whoever looks on."""

import time
import warnings
from functools import partial

from sklearn.exceptions import ConvergenceWarning
from tqdm.auto import tqdm


def follow(iterates, *, name, max_iter, tol, reference, report, attributes, verbose):
    """Take iterates until their residual is ``tol`` of the ``reference``; the last and the history.

    ``report`` is a `FitReport`; ``attributes(iterate, history)`` gives what a callback needs to see a fitted model.
    Ctrl-C ends it at the last iterate and warns.
    """
    here, history, before = next(iterates), [], time.perf_counter()
    history.append({"iteration": 0, "objective": here.objective, "seconds": 0.0})
    with tqdm(total=max_iter, desc=name, unit="iteration", disable=not verbose) as bar:
        try:
            while here.residual > tol * reference:
                if len(history) > max_iter:
                    warnings.warn(
                        f"{name}: max_iter={max_iter} was reached with the gradient at "
                        f"{here.residual / reference:.1e} of its start, above tol={tol:g}",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
                    break
                report.begin_epoch()
                step = next(iterates, None)
                if step is not None:
                    here, now = step, time.perf_counter()
                    history.append({"iteration": len(history), "objective": here.objective, "seconds": now - before})
                    before = now
                    bar.set_postfix(objective=f"{here.objective:.4g}", refresh=False)
                    bar.update()
                if report.end_epoch(partial(attributes, here, history)) or step is None:
                    break
        except KeyboardInterrupt:
            warnings.warn(
                f"{name}: training was interrupted; the model is that of iteration {len(history) - 1}",
                ConvergenceWarning,
                stacklevel=2,
            )
    return here, history
