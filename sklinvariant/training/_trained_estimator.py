"""What all estimators share that learn in epochs: the settings, and all of `fit` that is not the method itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, Literal

import torch

from sklinvariant._compat import CallbackSupportMixin, FitReport
from sklinvariant.base import (
    Count,
    NonNegative,
    Parameters,
    Positive,
    RandomState,
    Verbose,
    declared,
    torch_generator,
)
from sklinvariant.training._checkpoint import Checkpoint
from sklinvariant.training._loop import OPTIMIZERS, train


@declared
class Training(Parameters):
    """Settings of what learns in epochs.

    Parameters
    ----------
    max_epochs : int
        Most passes over the samples.
    batch_size : int
        Samples a step, at most.
    learning_rate : float
        Step size at the start.
    learning_rate_decay : {"cosine"} or None
        The step falls to 0 along half a cosine over ``max_epochs``, or stays. ``partial_fit`` keeps it.
    tol : float or None
        Training stops when an epoch's loss has not fallen by this for ``n_iter_no_change`` epochs; None never.
    n_iter_no_change : int
        Epochs to wait for that.
    warm_start : bool
        Let `fit` go on from what was learned before.
    checkpoint : str, path or None
        A file that `fit` writes after each epoch, and from which the same fit of the same samples goes on where it was
        interrupted, to the same model. It is gone when the fit is done. Where it cannot be written (a full disk), or
        another fit writes it too, the fit goes on with a warning.
    callbacks : list of skorch callbacks or None
        Called during training; they can monitor ``train_loss``. Those that cannot work are refused.
        Callbacks of scikit-learn are set by ``set_callbacks``.
    verbose : int
        1 shows a bar of epochs.
    random_state : int, RandomState or None
        Seeds weights and order.
    """

    _: KW_ONLY
    max_epochs: Count = 30
    batch_size: Count = 64
    learning_rate: Positive = 0.01
    learning_rate_decay: Literal["cosine"] | None = "cosine"
    tol: NonNegative | None = None
    n_iter_no_change: Count = 5
    warm_start: bool = False
    checkpoint: str | os.PathLike | None = None
    callbacks: list | tuple | None = None
    verbose: Verbose = 0
    random_state: RandomState = None


@declared
class WithOptimizer(Parameters):
    """The setting of what descends along a gradient.

    Parameters
    ----------
    optimizer : {"adam", "sgd"} or torch.optim.Optimizer class
        "sgd" has momentum 0.9.
    """

    _: KW_ONLY
    optimizer: Literal["adam", "sgd"] | Callable = "adam"

    def _make_optimizer(self, parameters, lr):
        make: Any = OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        return make(parameters, lr=lr)


@declared
class TrainedEstimator(CallbackSupportMixin, Training):
    """Base of the estimators that learn in epochs.

    A method says what it learns from (``_data``), what learns (``_module``, ``_restored``), how samples come
    (``_batches``) and what is kept (``_export``). `_train` does the rest: it seeds, goes on from an earlier fit or from
    a checkpoint, trains, reports, and sets the fitted attributes.

    The object that ``_data`` returns is passed to all other methods. They may change it.
    """

    # What a method gives

    def _data(self, given, y, generator, *, reset, **settings):
        """What is learned from, of the `Input` of X; ``reset`` where the estimator begins anew."""
        raise NotImplementedError

    def _module(self, data, generator):
        """A new module, which gives the loss of a batch (see `train`)."""
        raise NotImplementedError

    def _restored(self, data, generator):
        """The fitted module, for ``data``."""
        raise NotImplementedError

    def _batches(self, data, generator):
        """Batches in a new order each time; their ``generator`` is the one that is given."""
        raise NotImplementedError

    def _export(self, module, data):
        """The fitted state: numpy arrays and plain values."""
        raise NotImplementedError

    # What a method may give

    def _identity(self, data):
        """What a checkpoint is of: lists of tensors by name, "samples" among them."""
        raise NotImplementedError

    def _reseed(self, generator, before):
        """Called before the module is made; earlier fits have made ``before`` epochs."""

    def _pretrain(self, module, data):
        """What a new module learns before its first epoch."""

    def _finish(self, module, data, n_epochs):
        """What is left to do after the last of so many epochs, before the module is exported."""

    def _results(self, module, data):
        """Fitted attributes beside the state, by name."""
        return {}

    def _make_optimizer(self, parameters, lr):
        raise NotImplementedError

    def _first_learning_rate(self, data):
        return self.learning_rate

    def _learning_rates(self):
        """Rates of their own for some parameters: patterns of their names -> rates."""
        return None

    def _decay(self):
        return self.learning_rate_decay

    def _patience(self):
        """``tol`` and ``n_iter_no_change``."""
        return self.tol, self.n_iter_no_change

    def _earlier(self):
        """The history of earlier fits, which goes on."""
        return self.history_

    def _row(self, row, data):
        """A row of the history, whose loss is that of the module."""
        return row

    # What they all do

    def _goes_on(self):
        """Whether `fit` goes on from an earlier fit."""
        return self.warm_start and hasattr(self, "_state")

    def _train(self, X, y=None, *, partial=False, given=None, **settings):
        """Fit to X, or make one epoch on a part of the samples; what `_data` returned.

        ``given`` is the `Input` of X if it has been read already; ``settings`` are passed to `_data`.
        """
        reset = not hasattr(self, "_state") if partial else not self._goes_on()
        generator = torch_generator(self.random_state)
        given = self._read(X, reset=reset) if given is None else given
        data = self._data(given, y, generator, reset=reset, **settings)
        earlier = [] if reset else self._earlier()
        before, checkpoint, written = len(earlier), None, None
        if self.checkpoint is not None and not partial:
            checkpoint = Checkpoint(self.checkpoint, self, self._identity(data), before=before)
            written = checkpoint.read()
            before = checkpoint.before
        self._reseed(generator, before)
        module = (self._module if reset else self._restored)(data, generator)
        if reset and written is None:
            self._pretrain(module, data)
        max_epochs = 1 if partial else self.max_epochs
        tol, n_iter_no_change = self._patience()
        fit = _Fit(self, given.kind.name, data, module, earlier=earlier[:before])
        train(
            module,
            self._batches(data, generator),
            name=type(self).__name__,
            max_epochs=max_epochs,
            optimizer=self._make_optimizer,
            learning_rate=self._first_learning_rate(data),
            learning_rates=self._learning_rates(),
            # a stream of parts has no last epoch that the step could fall to 0 at
            learning_rate_decay=None if partial else self._decay(),
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            report=FitReport(self, X, y, getattr(data, "sample_weight", None), max_epochs),
            fitted_attributes=fit.attributes,
            finish=fit.finish,
            callbacks=self.callbacks or (),
            verbose=self.verbose,
            checkpoint=checkpoint,
        )
        return data


class _Fit:
    """One training of an estimator: what it sets, after an epoch for a callback, and at its end."""

    def __init__(
        self, estimator: TrainedEstimator, namespace: str, data: Any, module: torch.nn.Module, *, earlier: list
    ) -> None:
        self.estimator, self.namespace, self.earlier = estimator, namespace, earlier
        self.data, self.module = data, module

    def attributes(self, module):
        state = {"namespace": self.namespace} | self.estimator._export(module, self.data)
        results = self.estimator._results(module, self.data)
        return {"_state": state, **results, "n_iter_": 0, "history_": []}

    def finish(self, history):
        self.estimator._finish(self.module, self.data, len(history))
        for name, value in self.attributes(self.module).items():
            setattr(self.estimator, name, value)
        rows = (row | {"epoch": row["epoch"] + len(self.earlier)} for row in history)
        self.estimator.history_ = [*self.earlier, *(self.estimator._row(row, self.data) for row in rows)]
        self.estimator.n_iter_ = len(self.estimator.history_)


__all__ = ["TrainedEstimator", "Training", "WithOptimizer"]
