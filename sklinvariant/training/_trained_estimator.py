"""The base of all estimators that are trained in epochs: their settings, and the parts of `fit` that they share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, Literal

import torch

from sklinvariant._compat import CallbackSupportMixin, FitReport
from sklinvariant._distributed import current_processes
from sklinvariant.base import (
    ArrayLike,
    Count,
    Input,
    NonNegative,
    Parameters,
    Positive,
    RandomState,
    Verbose,
    copy_first_fit,
    declared,
    torch_generator,
)
from sklinvariant.ops import in_smaller_chunks
from sklinvariant.training._checkpoint import Checkpoint
from sklinvariant.training._early_stopping import Validation
from sklinvariant.training._loop import OPTIMIZERS, train
from sklinvariant.training._together import Begun, begin_together, check_same_fit


@declared
class Training(Parameters):
    """Settings of estimators that are trained in epochs.

    Parameters
    ----------
    max_epochs : int
        Maximum number of passes over the samples.
    batch_size : int
        Maximum number of samples in a training step.
    learning_rate : float
        Initial step size.
    learning_rate_decay : {"cosine"} or None
        "cosine" lowers the learning rate to 0 along half a cosine over ``max_epochs``. None keeps it constant, as
        ``partial_fit`` always does.
    tol : float or None
        Training stops when the loss has not decreased by more than this value for ``n_iter_no_change`` epochs. None
        disables this criterion.
    n_iter_no_change : int
        Number of epochs without improvement after which training stops, if ``tol`` is set or, in estimators that have
        this parameter, with ``early_stopping=True``. The score of held-out samples is noisy until the learning rate
        has decayed, so a lower number may stop too early.
    warm_start : bool
        Whether `fit` continues from the previous fit.
    checkpoint : str, path or None
        A file that `fit` writes after each epoch. If the fit is interrupted, the same call resumes from this file and
        gives the same model. Nothing is kept before the first epoch is finished, nor of the work before it, such as
        the search for neighbours, which a resumed fit repeats. The file is removed when the fit is finished. If the
        file cannot be written, for example because the disk is full, or if another fit writes it too, the fit continues
        with a warning.
    callbacks : list of skorch callbacks or None
        Callbacks of the training, which can monitor ``train_loss``. Unsupported callbacks raise an error. To set
        callbacks of scikit-learn, use ``set_callbacks``.
    precision : {"float32", "tf32", "bf16"}
        Precision of the training. "tf32" lets a GPU round the factors of float32 products to 10 bits, and "bf16"
        computes networks in bfloat16. Parameters, losses and sums over a batch stay float32. Other methods, such as
        ``predict``, compute in float32. Data of float64 require "float32", which does not round them.
    verbose : int
        1 shows a progress bar with the loss, in a terminal or notebook. Elsewhere, such as in a log file, nothing is
        drawn.
    random_state : int, RandomState or None
        Seed of the initial weights and of the order of samples.
    """

    _: KW_ONLY
    max_epochs: Count = 30
    batch_size: Count = 64
    learning_rate: Positive = 0.01
    learning_rate_decay: Literal["cosine"] | None = "cosine"
    tol: NonNegative | None = None
    n_iter_no_change: Count = 10
    warm_start: bool = False
    checkpoint: str | os.PathLike | None = None
    callbacks: list | tuple | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    verbose: Verbose = 0
    random_state: RandomState = None


@declared
class WithOptimizer(Parameters):
    """The settings of estimators that are trained with an optimizer.

    Parameters
    ----------
    optimizer : {"adam", "sgd"} or torch.optim.Optimizer class
        Optimizer; "sgd" uses a momentum of 0.9.
    compile : bool
        Whether `torch.compile` compiles the network for the training, which takes up to some minutes once and then
        saves time on a GPU. If it fails, for example because there is no C++ compiler, a warning says so and the
        network is trained as it is. Of several processes, none compiles unless all of them can, and a failure in a
        later step is an error.
    """

    _: KW_ONLY
    optimizer: Literal["adam", "sgd"] | Callable = "adam"
    compile: bool = False

    def _make_optimizer(self, parameters: Any, lr: float) -> torch.optim.Optimizer:
        make: Any = OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        return make(parameters, lr=lr)


@declared
class TrainedEstimator(CallbackSupportMixin, Training):
    """Base of the estimators that are trained in epochs.

    The ``fit`` and ``partial_fit`` of a subclass call `_train`, which seeds, continues from an earlier fit or a
    checkpoint, trains, reports, and sets the fitted attributes. It calls these methods of the subclass, in this order.
    Without enough memory on a GPU, ``_data``, ``_module``, ``_export`` and ``_results`` are called again with smaller
    chunks.

    - ``_data`` checks the samples that have been read, and returns them in an object of any type, which all later
      methods receive and may change;
    - ``_identity`` returns the tensors by which a checkpoint recognises the fit that it belongs to;
    - ``_module`` returns a new module, or ``_restored`` the one of the earlier fit that continues;
    - ``_batches`` returns the batches, each of which the module maps to its loss;
    - ``_make_optimizer`` returns the optimizer. `WithOptimizer` defines it;
    - ``_export`` returns the fitted state, at the end and whenever a callback asks for it.

    The other methods have defaults. A subclass overrides ``_hold_out`` and ``_validation`` by `WithEarlyStopping`,
    ``_pretrain`` and ``_finish`` if it has steps before the first and after the last epoch, ``_results`` if it has
    fitted attributes besides the state, and the rest if its settings deviate from those of `Training`.

    Attributes
    ----------
    history_ : list of dict
        Number, mean loss and seconds of each epoch.
    n_iter_ : int
        Number of epochs.
    """

    _errors_of_fit = """
        FloatingPointError
            If the loss is not finite. The message names the epoch and what to change.
        """

    # Methods that a subclass must define

    def _data(self, given: Input, y: Any, generator: torch.Generator, *, reset: bool, **settings: Any) -> Any:
        """The training data, from the `Input` of X; ``reset`` is False if an earlier fit continues."""
        raise NotImplementedError

    def _identity(self, data: Any) -> dict[str, list[torch.Tensor]]:
        """The data that identify the fit in a checkpoint: lists of tensors by name, including "samples"."""
        raise NotImplementedError

    def _module(self, data: Any, generator: torch.Generator) -> torch.nn.Module:
        """A new module, which computes the loss of a batch (see `train`)."""
        raise NotImplementedError

    def _restored(self, data: Any, generator: torch.Generator) -> torch.nn.Module:
        """The fitted module, on the device of ``data``."""
        raise NotImplementedError

    def _batches(self, data: Any, generator: torch.Generator) -> Any:
        """Batches, shuffled in each pass by ``generator``, which is also their attribute."""
        raise NotImplementedError

    def _make_optimizer(self, parameters: Any, lr: float) -> torch.optim.Optimizer:
        """The optimizer of the parameters, or groups of them, that skorch passes."""
        raise NotImplementedError

    def _export(self, module: Any, data: Any) -> dict[str, Any]:
        """The fitted state: numpy arrays and plain values."""
        raise NotImplementedError

    # Methods that a subclass may define

    def _reseed(self, generator: torch.Generator, before: int) -> None:
        """Seed the generator before the module is created; ``before`` is the number of epochs of earlier fits."""

    def _pretrain(self, module: Any, data: Any) -> None:
        """Train a new module before its first epoch."""

    def _finish(self, module: Any, data: Any, n_epochs: int) -> None:
        """Complete the training after the last epoch, before the module is exported."""

    def _results(self, module: Any, data: Any) -> dict[str, Any]:
        """Fitted attributes that are not part of the state, by name."""
        return {}

    def _first_learning_rate(self, data: Any) -> float:
        return self.learning_rate

    def _learning_rates(self) -> dict[str, float] | None:
        """Learning rates that differ from the common one: patterns of parameter names -> rates."""
        return None

    def _decay(self) -> str | None:
        return self.learning_rate_decay

    def _n_epochs(self, data: Any) -> int:
        """Maximum number of epochs."""
        return self.max_epochs

    def _patience(self) -> tuple[float | None, int]:
        """``tol`` and ``n_iter_no_change``."""
        return self.tol, self.n_iter_no_change

    def _earlier(self) -> list[dict[str, Any]]:
        """The history of earlier fits, to which new epochs are appended."""
        return self.history_

    def _row(self, row: dict[str, Any], data: Any) -> dict[str, Any]:
        """Convert a row of the history, which contains the loss of the module."""
        return row

    def _read_samples(self, X: ArrayLike, *, reset: bool) -> Input:
        """The `Input` of X in `fit` and `partial_fit`."""
        return self._read(X, reset=reset)

    def _check_partial_fit(self) -> None:
        """Refuse settings that `partial_fit` does not support."""

    def _hold_out(self, data: Any, seed: int) -> tuple[Any, Any]:
        """Split the data into those to train on and those held out for early stopping (None if there are none)."""
        return data, None

    def _validation(self, module: Any, held_out: Any, *, of_start: bool) -> Validation | None:
        """The `Validation` of the held-out data. With ``of_start`` the initial parameters are scored as well."""
        return None

    # Methods that all subclasses share

    def _continues_fit(self) -> bool:
        """Whether `fit` continues an earlier fit."""
        return self.warm_start and hasattr(self, "_state")

    def _train(
        self, X: ArrayLike, y: Any = None, *, partial: bool = False, given: Input | None = None, **settings: Any
    ) -> Any:
        """Fit to X, or train one epoch on a part of the samples, and return the object that `_data` returned.

        ``given`` is the `Input` of X if it has been read already; ``settings`` are passed to `_data`.
        """
        if partial:
            self._check_partial_fit()
        reset = not hasattr(self, "_state") if partial else not self._continues_fit()
        generator, processes = torch_generator(self.random_state), current_processes()

        def begin(reset, resumes=True):
            return self._begin(X, y, generator, reset, resumes, partial=partial, given=given, **settings)

        if processes is None:
            begun = begin(reset)
        else:
            begun = begin_together(processes, self, generator, begin, reset=reset)
        data = begun.data
        tol, n_iter_no_change = self._patience()
        train(
            begun.module,
            begun.batches,
            name=type(self).__name__,
            max_epochs=begun.max_epochs,
            optimizer=self._make_optimizer,
            learning_rate=begun.learning_rate,
            learning_rates=self._learning_rates(),
            # with partial_fit the number of steps is not known in advance
            learning_rate_decay=None if partial else self._decay(),
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            report=FitReport(self, X, y, begun.sample_weight, begun.max_epochs),
            fitted_attributes=begun.fit.attributes,
            finish=begun.fit.finish,
            callbacks=self.callbacks or (),
            precision=self.precision,
            compiles=getattr(self, "compile", False),
            verbose=self.verbose if processes is None or processes.rank == 0 else 0,
            checkpoint=begun.checkpoint,
            validation=self._validation(begun.module, begun.held_out, of_start=begun.continues),
        )
        if processes is not None:
            copy_first_fit(processes, self, nested=False)
        return data

    def _begin(self, X, y, generator, reset, resumes, *, partial, given, **settings):
        """Read the data, and create or restore the module and the batches.

        With ``resumes=False`` another process reads the checkpoint.
        """
        processes = current_processes()
        with contextlib.nullcontext() if processes is None else processes.failing_together():
            given = self._read_samples(X, reset=reset) if given is None else given
            data = in_smaller_chunks(lambda: self._data(given, y, generator, reset=reset, **settings), generator)
        if processes is not None:
            check_same_fit(processes, self, self._identity(data), reset=reset)
        earlier = [] if reset else self._earlier()
        before, checkpoint, written = len(earlier), None, None
        if self.checkpoint is not None and not partial:
            checkpoint = Checkpoint(self.checkpoint, self, self._identity(data), before=before)
            written = checkpoint.read() if resumes else None
            before = checkpoint.before
        sample_weight, max_epochs = getattr(data, "sample_weight", None), 1 if partial else self._n_epochs(data)
        data, held_out = self._hold_out(data, _seed(generator, written))
        self._reseed(generator, before)
        make_module = self._module if reset else self._restored
        module = in_smaller_chunks(lambda: make_module(data, generator), generator)
        if reset and written is None:
            self._pretrain(module, data)
        return Begun(
            fit=_Fit(self, given.kind.name, data, module, earlier=earlier[:before]),
            data=data,
            held_out=held_out,
            module=module,
            batches=self._batches(data, generator),
            checkpoint=checkpoint,
            max_epochs=max_epochs,
            learning_rate=self._first_learning_rate(data),
            sample_weight=sample_weight,
            continues=not reset,
        )


def _seed(generator, written):
    """The seed of a fit, or of the interrupted fit that it resumes, which differs if ``random_state`` is None."""
    if written is not None:
        generator = torch.Generator()
        generator.set_state(written["generator"])
    return generator.initial_seed()


class _Fit:
    """One training of an estimator. It computes the fitted attributes: for callbacks after an epoch, and at the end."""

    def __init__(
        self, estimator: TrainedEstimator, namespace: str, data: Any, module: torch.nn.Module, *, earlier: list
    ) -> None:
        self.estimator, self.namespace, self.earlier = estimator, namespace, earlier
        self.data, self.module = data, module

    def attributes(self, module: torch.nn.Module) -> dict[str, Any]:
        state = {"namespace": self.namespace} | in_smaller_chunks(lambda: self.estimator._export(module, self.data))
        results = in_smaller_chunks(lambda: self.estimator._results(module, self.data))
        return {"_state": state, **results, "n_iter_": 0, "history_": []}

    def finish(self, history: list[dict[str, Any]]) -> None:
        self.estimator._finish(self.module, self.data, len(history))
        for name, value in self.attributes(self.module).items():
            setattr(self.estimator, name, value)
        rows = (row | {"epoch": row["epoch"] + len(self.earlier)} for row in history)
        self.estimator.history_ = [*self.earlier, *(self.estimator._row(row, self.data) for row in rows)]
        self.estimator.n_iter_ = len(self.estimator.history_)
