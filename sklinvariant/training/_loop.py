"""The training loop of all trained estimators: a skorch net over batches of tensors that are already on the device."""

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, PassthroughScoring, PrintLog
from skorch.history import History

from sklinvariant._compat import FitReport
from sklinvariant._distributed import current_processes, share_of
from sklinvariant.base import check_callbacks, keeping_last_epoch, progress_bar
from sklinvariant.ops import compute_dtype
from sklinvariant.training._checkpoint import Checkpoint
from sklinvariant.training._early_stopping import Validation
from sklinvariant.training._speed import Precision, compile_module, compiled_or_eager

T = TypeVar("T")

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": functools.partial(torch.optim.SGD, momentum=0.9)}
# the entries of skorch's history that a fit keeps, and their names in ``history_``
_KEPT = {
    "train_loss": "loss",
    "loss_ratio": "loss_ratio",
    "dur": "seconds",
    "valid_loss": "validation_loss",
    "validation_score": "validation_score",
}


class StopTraining(Exception):
    """Ends training that has converged or that a callback stops; not an interruption by the user."""


class _Net(NeuralNet):
    """A skorch net whose module computes the loss of a batch, or takes its own steps. It stops only between epochs."""

    precision: Precision
    epochs: "_Epochs"

    def get_default_callbacks(self):
        return [("epoch_timer", EpochTimer()), ("train_loss", PassthroughScoring("train_loss", on_train=True))]

    def get_dataset(self, X, y=None):
        return X

    def get_iterator(self, dataset, training=False):
        return dataset

    def infer(self, x, **fit_params):
        with self.precision.autocast():
            loss = self.module_(x)
        return loss.to(compute_dtype(loss.dtype))

    def train_step(self, batch, **fit_params):
        if not hasattr(self.module_, "learn"):
            return super().train_step(batch, **fit_params)
        group = self.optimizer_.param_groups[0]
        with share_of(batch[0]) as part, self.precision.of_step(), self.precision.autocast():
            loss = self.module_.learn(part, group["lr"], group["momentum"])
        return {"loss": self.get_loss(loss, None), "y_pred": loss}

    def train_step_single(self, batch, **fit_params):
        with share_of(batch[0]) as part, self.precision.of_step():
            step = compiled_or_eager(self.module_, lambda: super(_Net, self).train_step_single((part, None)))
        processes = current_processes()
        if processes is not None:
            processes.average_gradients(self.module_.parameters())
        return step

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = y_pred.item()
        if not math.isfinite(loss):
            epoch = len(self.history)
            raise FloatingPointError(
                f"the loss became {loss} in epoch {epoch}. Lower learning_rate (now {self.lr:g}), or "
                "check the input for extreme values"
            )
        return y_pred

    def notify(self, method_name, **kwargs):
        if method_name != "on_epoch_end":
            super().notify(method_name, **kwargs)
            if method_name == "on_train_begin" and hasattr(self.module_, "learn"):
                self.optimizer_.step()  # has no effect without gradients, but learning rate schedulers expect a call
            return
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as stop:  # raised by the user, or by skorch's EarlyStopping
            stopping = [callback for _, callback in self.callbacks_ if isinstance(callback, EarlyStopping)]
            if any(callback.misses_ >= callback.patience for callback in stopping):
                raise StopTraining from stop
            raise
        if self.epochs.stops:  # after all callbacks have seen the last epoch
            raise StopTraining


class _Epochs(Callback):
    """After each epoch, keep the parameters, report to scikit-learn's callbacks, and set ``stops`` at the last one.

    The training loss must decrease or, with a `Validation`, the score of the held-out samples must increase. ``best``
    is the lowest loss, or the negative of the highest score. If several processes train the module, they agree on the
    parameters and on the end.
    """

    def __init__(self, report, fitted_attributes, tol, patience, validation):
        self.report, self.fitted_attributes = report, fitted_attributes
        self.tol, self.patience = 0.0 if tol is None and validation else tol, patience
        self.validation, self.processes = validation, current_processes()

    def initialize(self):
        self.best, self.waited, self.lowest_loss, self.stops = np.inf, 0, np.inf, False
        self.kept = 0, None  # the number of the last finished epoch, and its parameters
        self.best_parameters = None
        return self

    def keep(self, module, number):
        self.kept = number, copy.deepcopy(module.state_dict())

    def restore(self, module):
        """Restore the module of the last finished epoch, and return the number of this epoch; 0 if there is none."""
        number, parameters = self.kept
        if number:
            module.load_state_dict(parameters)
        return number

    def restore_best(self, module):
        """Restore the module of the epoch with the best validation score."""
        if self.best_parameters is not None:
            module.load_state_dict(self.best_parameters)

    def on_train_begin(self, net, **kwargs):
        if self.validation and self.validation.of_start:
            self.best = -self.scores(net)[1]
            self.best_parameters = copy.deepcopy(net.module_.state_dict())

    def on_epoch_begin(self, net, **kwargs):
        self.report.begin_epoch()

    def on_epoch_end(self, net, **kwargs):
        if self.processes is not None:  # processors of different kinds may round differently
            self.processes.copy_first(net.module_)
        value = self.validate(net) if self.validation else net.history[-1]["train_loss"]
        self.keep(net.module_, len(net.history))
        if self.validation and value < self.best:
            self.best_parameters = self.kept[1]
        self.waited = 0 if self.tol is None or value < self.best - self.tol else self.waited + 1
        self.best = min(self.best, value)
        stops = self.report.end_epoch(lambda: self.fitted_attributes(net.module_)) or self.waited >= self.patience
        self.stops = stops if self.processes is None else self.processes.any(stops)

    def validate(self, net):
        loss, score = self.scores(net)
        net.history.record("valid_loss", loss)
        net.history.record("valid_loss_best", loss < self.lowest_loss)
        net.history.record("validation_score", score)
        self.lowest_loss = min(self.lowest_loss, loss)
        return -score

    def scores(self, net):
        """The loss and the score of the held-out samples."""
        scores = self.validation(net.module_)
        return scores if self.processes is None else self.processes.of_first(lambda: scores)


class _Decay(Callback):
    """Lowers the learning rate to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""

    def __init__(self, n_steps, step=0):
        self.n_steps, self.step = n_steps, step

    def on_train_begin(self, net, **kwargs):
        self.start = [group["lr"] for group in net.optimizer_.param_groups]

    def on_batch_begin(self, net, **kwargs):
        for group, start in zip(net.optimizer_.param_groups, self.start, strict=True):
            group["lr"] = start * 0.5 * (1 + math.cos(math.pi * self.step / self.n_steps))
        self.step += 1


class _Ratio(Callback):
    """Records the loss divided by its lower bound, which is negative: 1 is the optimum."""

    def __init__(self, lowest_loss):
        self.lowest_loss = lowest_loss

    def on_epoch_end(self, net, **kwargs):
        net.history.record("loss_ratio", net.history[-1]["train_loss"] / self.lowest_loss)


class _Journal(Callback):
    """Writes the state of the training to a `Checkpoint` after each epoch, so that it can be resumed bit for bit."""

    def __init__(self, checkpoint, generator, epochs):
        self.checkpoint, self.generator, self.epochs = checkpoint, generator, epochs

    def on_epoch_end(self, net, **kwargs):
        if self.epochs.stops:  # a resumed fit repeats this epoch and stops again
            return
        self.checkpoint.write(
            {
                "module": net.module_.state_dict(),
                "optimizer": net.optimizer_.state_dict(),
                "generator": self.generator.get_state(),
                "history": [{key: float(row[key]) for key in _KEPT.keys() & row.keys()} for row in net.history],
                "best": float(self.epochs.best),
                "waited": self.epochs.waited,
                "best_parameters": self.epochs.best_parameters,
            }
        )

    def restore(self, net, written):
        net.module_.load_state_dict(written["module"])
        net.optimizer_.load_state_dict(written["optimizer"])
        self.generator.set_state(written["generator"].cpu())
        rows = enumerate(written["history"], 1)
        net.history_ = History({"epoch": epoch, "batches": [], **row} for epoch, row in rows)
        self.epochs.best, self.epochs.waited = written["best"], written["waited"]
        self.epochs.best_parameters = written.get("best_parameters")
        self.epochs.lowest_loss = min((row.get("valid_loss", np.inf) for row in written["history"]), default=np.inf)
        self.epochs.keep(net.module_, len(net.history))


class _Bar(Callback):
    """Progress bar of the epochs of a fit."""

    def __init__(self, name, total, done):
        self.name, self.total, self.done = name, total, done

    def on_train_begin(self, net, **kwargs):
        self.bar = progress_bar(self.name, self.total, "epoch", verbose=1, initial=self.done)

    def on_epoch_end(self, net, **kwargs):
        row = net.history[-1]
        values = {name: row[key] for key, name in _KEPT.items() if key in row and name != "seconds"}
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
        self.bar.update()

    def on_train_end(self, net, **kwargs):
        self.bar.close()


def train(
    module: torch.nn.Module,
    batches: Any,
    *,
    name: str,
    max_epochs: int,
    optimizer: Callable[..., torch.optim.Optimizer],
    learning_rate: float,
    learning_rate_decay: str | None,
    learning_rates: dict[str, float] | None = None,
    tol: float | None,
    n_iter_no_change: int,
    report: FitReport,
    fitted_attributes: Callable[[torch.nn.Module], dict[str, Any]],
    finish: Callable[[list[dict[str, Any]]], T],
    callbacks: Sequence[Any] = (),
    precision: str = "float32",
    compiles: bool = False,
    verbose: int = 0,
    checkpoint: Checkpoint | None = None,
    validation: Validation | None = None,
) -> T:
    """Train ``module(batch) -> loss`` in place and return ``finish(history)``, which sets the fitted attributes.

    Each epoch is one pass over ``batches``, in ``batches.n_steps`` steps.
    ``learning_rates`` maps names of parameters, such as "trunk.*", to learning rates that differ from the common one.
    A module without a differentiable loss has a method ``learn(batch, learning_rate, momentum) -> loss``, which takes
    the step itself. It uses the learning rate and momentum of the ``optimizer``, which does not take a step.
    ``report`` is a `FitReport`; ``fitted_attributes(module)`` returns the attributes of a fitted model for callbacks.
    The history is a list with the epoch, loss and seconds of each epoch, and with the loss and score of the held-out
    samples if there is a ``validation`` (`Validation`); the module then gets the parameters of the best score. If the
    module has a ``lowest_loss``, a negative lower bound of its loss, the history also has the ratio of both.
    ``precision`` is one of "float32", "tf32" and "bf16"; with ``compiles``, `torch.compile` compiles the module.
    If the `Checkpoint` contains a part of the same training, training is resumed from it. It is written after each
    epoch.
    After a KeyboardInterrupt, the module of the last finished epoch (or of the best one) is restored and ``finish`` is
    called, before the exception is raised again. A loss that is not finite raises a FloatingPointError.
    """
    has_gradients = not hasattr(module, "learn")
    check_callbacks(
        callbacks, decay=learning_rate_decay, has_gradients=has_gradients, early_stopping=validation is not None
    )
    own_precision = Precision(precision, module)
    if not max_epochs:
        return _finished(finish, [], report)
    epochs = _Epochs(report, fitted_attributes, tol, n_iter_no_change, validation)
    lowest_loss = getattr(module, "lowest_loss", 0.0)
    own = [("own_ratio", _Ratio(lowest_loss))] if lowest_loss < 0 else []
    own.append(("own_epochs", epochs))
    written = None
    if checkpoint is not None:
        journal = _Journal(checkpoint, batches.generator, epochs)
        written = checkpoint.read()
        own.append(("own_journal", journal))
    done = 0 if written is None else len(written["history"])
    if learning_rate_decay == "cosine":
        own.append(("own_decay", _Decay(max_epochs * batches.n_steps, done * batches.n_steps)))
    if verbose:
        own.append(("own_bar", _Bar(name, max_epochs, done)))
    net = _Net(
        module,
        criterion=torch.nn.Module,
        optimizer=optimizer,
        lr=learning_rate,
        optimizer__param_groups=[(name, {"lr": rate}) for name, rate in (learning_rates or {}).items()],
        max_epochs=max_epochs,
        train_split=None,
        device=next((parameter.device for parameter in module.parameters()), None),  # where the module is already
        callbacks=[*own, *callbacks],
        verbose=int(_prints_rows(callbacks)),
    ).initialize()
    net.precision, net.epochs = own_precision, epochs
    if compiles:
        compile_module(module)
    net.notify("on_train_begin", X=batches, y=None)
    if checkpoint is not None and written is not None:
        with checkpoint.restoring():
            journal.restore(net, written)

    def keep():
        number = epochs.restore(module)
        if number:
            epochs.restore_best(module)
            finish(_history(net, number))
        return number

    kept = "best epoch up to the last finished one" if validation else "last finished epoch"
    with keeping_last_epoch(report.estimator, keep, kept):
        _run(net, batches, max_epochs - done, epochs)
        epochs.restore_best(module)
        result = _finished(finish, _history(net, len(net.history)), report)
    if checkpoint is not None:
        checkpoint.remove()
    return result


def _run(net, batches, n_epochs, epochs):
    """Run the epochs, and then the `on_train_end` of the callbacks, also after an error."""
    try:
        with contextlib.suppress(StopTraining):
            net.fit_loop(batches, epochs=n_epochs)
    except BaseException:
        epochs.restore(net.module_)
        with contextlib.suppress(Exception):  # an error of a callback would hide the reason
            net.notify("on_train_end", X=batches, y=None)
        raise
    net.notify("on_train_end", X=batches, y=None)
    epochs.keep(net.module_, len(net.history))  # a callback may have restored the best epoch


def _prints_rows(callbacks):
    """Whether the callbacks contain a `PrintLog`, which prints only if skorch is verbose."""
    alone = [item[1] if isinstance(item, (tuple, list)) else item for item in callbacks]
    return any(isinstance(callback, PrintLog) or callback is PrintLog for callback in alone)


def _finished(finish, history, report):
    result = finish(history)
    report.end(dict)  # the fitted attributes are already set
    return result


def _history(net, n_epochs):
    return [
        {"epoch": row["epoch"], **{name: float(row[key]) for key, name in _KEPT.items() if key in row}}
        for row in net.history[:n_epochs]
    ]
