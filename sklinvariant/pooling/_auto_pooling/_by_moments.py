"""The solver "moment" of `AutoPooling`: it sums products of the frames, and descends on the exact J of these sums."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning

from sklinvariant._compat import FitReport
from sklinvariant._warnings import warn
from sklinvariant.base import (
    TorchEstimator,
    as_numpy,
    keeping_last_epoch,
    progress_bar,
    refuse_stream_in_fit,
    torch_generator,
)
from sklinvariant.ops import float64_device, power_of_two
from sklinvariant.pooling._auto_pooling._descent import Iterate, PoolingObjective, best_multiple, descend
from sklinvariant.pooling._auto_pooling._start import (
    NO_UNITS,
    check_reach,
    initial_components,
    paired_columns,
    random_components,
    units_of,
)
from sklinvariant.pooling._clip_frames import check_some_pairs, stream_frames
from sklinvariant.pooling._held_moments import moments_to_state, pooling_moments_of_state
from sklinvariant.pooling._pair_moments import pair_moments, standardized


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


class PoolingByMoments(TorchEstimator):
    """Mixin of `AutoPooling`: learning from moments of frames, of streams of frames, and of earlier models."""

    def _learn_by_moments(self, X, given, frames, start, continues, whole):
        self._check_moment_settings(whole)
        device = self._moment_device(given)
        moments = self._pair_moments(given, frames, device)
        if continues:
            moments += pooling_moments_of_state(self._state, self.cross_reconstruction, self.standardize, device)
        self._descend(X, moments, start, float(frames.rows.max()), given.dtype, frames.kept, whole)

    def _moment_device(self, given):
        return float64_device(given.device) if self.standardize else given.device

    def _pair_moments(self, given, frames, device):
        """The sums over the pairs that "moment" learns from."""
        shift = paired_columns(frames, given)[1].mean if self.standardize else None
        return pair_moments(
            frames.rows,
            frames.follows,
            device=device,
            dtype=torch.float64 if self.standardize else given.dtype,
            scale=power_of_two(float(frames.rows.max()), given.dtype),
            with_first=self.cross_reconstruction,
            chunk_size=self.chunk_size,
            shift=shift,
        )

    def _descend(self, X, moments, start, largest, dtype, kept, whole):
        """Learn from the moments; ``start`` are earlier components or None, ``kept`` the rest of the fitted state."""
        units, used = NO_UNITS, moments
        if self.standardize:
            mean, deviation, used = standardized(moments)
            units = units_of(mean, deviation, dtype)
        objective = PoolingObjective(used, self.invariance, self.cross_reconstruction)
        fresh = random_components(self.n_components, len(used.total), torch_generator(self.random_state)).to(used.total)
        if self.standardize:
            fresh *= deviation > 0
        fresh = best_multiple(fresh, *objective.ray(fresh))
        start = initial_components(start, fresh)
        reference = objective.at(fresh).iterate().residual
        check_reach(reference, largest, self.invariance)

        def attributes(iterate, history):
            components = as_numpy(iterate.components.to(dtype)).copy()
            return {
                "_state": {"components": components, **units, **moments_to_state(moments), **kept},
                **self._errors(objective.errors(iterate.components)),
                "history_": list(history),
                "n_iter_": history[-1]["epoch"] if history else 0,
            }

        follow(
            descend(objective, start),
            name=type(self).__name__,
            max_iter=self.max_iter,
            tol=self.tol,
            reference=reference,
            report=FitReport(self, X, None, None, self.max_iter),
            attributes=attributes,
            finish=lambda *last: self.__dict__.update(attributes(*last)),
            verbose=self.verbose,
            whole=whole,
        )

    def _learn_from_stream(self, X, groups):
        self._check_moment_settings(whole=True)
        start = moments = None
        largest, n_samples = 0.0, 0
        for given, parts in stream_frames(self, X, groups, self._refuse_negative):
            if n_samples == 0:
                n_features = given.data.shape[1]
                if self._solver(n_features) == "sgd":
                    refuse_stream_in_fit(self, X, 'set solver="moment"')
                start = self._earlier_components(n_features, self.warm_start)
            largest, n_samples = max(largest, float(given.data.max())), n_samples + len(given.data)
            for frames in parts:
                added = self._pair_moments(given, frames, self._moment_device(given))
                moments = added if moments is None else moments + added
        check_some_pairs(moments is not None, n_samples)
        self._descend(X, moments, start, largest, given.dtype, frames.kept, whole=True)
        return self._warn("invariance")

    def _check_moment_settings(self, whole):
        """Refuse callbacks of "sgd", and warn of a checkpoint, which "moment" does not write."""
        if self.callbacks:
            raise ValueError(
                'callbacks require the epochs of solver="sgd", but the solver is "moment". Set solver="sgd", or pass '
                "callbacks of scikit-learn to set_callbacks"
            )
        if whole and self.checkpoint is not None:
            warn(
                f"{type(self).__name__}: checkpoint={str(self.checkpoint)!r} has no effect, because the solver is "
                '"moment", which writes no file. Set solver="sgd", or checkpoint=None',
            )
