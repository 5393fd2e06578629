"""Training by several processes of `torch.distributed`, each of which computes its share of every batch.

All processes compute the same loss, that of the whole batch: a module sums its statistics over the processes by
`whole_sum`, `whole_mean` or `whole_rows`, which autograd differentiates. If the gradients of the processes are then
averaged, they are those of one process with the whole batch. Without several processes these functions return their
argument.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import distributed as dist

if dist.is_available():
    # The functions of this module take the group at the time of the import as default argument. torch.optim imports it
    # too: if that happened after init_process_group(), the group would outlive destroy_process_group(), and its threads
    # could abort the process when it ends.
    import torch.distributed.nn.functional


@contextlib.contextmanager
def distributed(group: Any = None, *, shards: bool = False) -> Iterator[int]:
    """Inside the context, the processes of `torch.distributed` train each model together.

    Every process runs the same script and passes the same data to ``fit`` or ``partial_fit``. Each computes its share
    of every batch, and all of them end with the same model: that of one process, up to rounding. ``batch_size`` is the
    number of samples of all processes together. This applies to the estimators that are trained in epochs, and with
    ``shards`` also to those that learn from sums, in the thread that enters the context. Each process computes
    everything else alone.

    The context has no effect if there is no process group, so that a script also runs without ``torchrun``.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None, default=None
        The processes. None is the default group, which ``torch.distributed.init_process_group()`` creates.
    shards : bool, default=False
        Whether each process passes its own part of the data, for data that is too large for one machine. Scales and
        initial weights are then those of the part of process 0, as in the first call of ``partial_fit``, so that parts
        should contain a random selection of samples. Every process adds ``batch_size`` samples of its part to each
        batch, and an epoch ends with the smallest part. Attributes that describe samples, such as ``labels_``, are
        those of process 0. Estimators that learn from sums over the data, such as `PCAHasher`, `AutoPooling` and
        `VLAD`, learn from the parts of all processes, up to rounding as from all data in one process.

    Yields
    ------
    int
        The number of this process, from 0. Let process 0 write files and print.

    Raises
    ------
    RuntimeError
        If ``torchrun`` started the process, but there is no process group; or, in ``fit``, if another process failed.
    ValueError
        If this process does not belong to ``group``; or, in ``fit``, if the data or parameters of processes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import NeighborHasher, distributed
    >>> X = np.random.default_rng(0).random((200, 12))
    >>> with distributed() as rank:
    ...     model = NeighborHasher(16, random_state=0).fit(X)
    >>> rank
    0
    """
    processes = _processes_of(group, shards)
    before, _local.processes = _local.processes, processes if processes and processes.size > 1 else None
    try:
        yield processes.rank if processes else 0
    finally:
        _local.processes = before


def _processes_of(group, shards):
    if dist.is_available() and dist.is_initialized():
        rank = dist.get_rank(group)
        if rank < 0:
            raise ValueError(
                "this process does not belong to the group. Enter the context in the processes of the group"
            )
        return Processes(group, rank, dist.get_world_size(group), shards=shards)
    if dist.is_available() and dist.is_torchelastic_launched():
        raise RuntimeError(
            "torchrun started this process, but there is no process group. Call "
            "torch.distributed.init_process_group() before distributed()"
        )
    return None


class Processes:
    """The processes that train a model together, and the number ``rank`` of this one among them.

    With ``shards``, each process has its own part of the data.
    """

    def __init__(self, group: Any, rank: int, size: int, *, shards: bool = False) -> None:
        self.group, self.rank, self.size, self.shards = group, rank, size, shards

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order. A value is any object that can be pickled."""
        values = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def of_first(self, function: Callable[[], Any]) -> Any:
        """The result of ``function()`` in process 0, or its error, in all processes."""
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = function()
            except Exception as error:
                answer[1] = error
        dist.broadcast_object_list(answer, self._first(), group=self.group)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def _first(self):
        """The number of process 0 of the group among all processes."""
        return 0 if self.group is None else dist.get_global_rank(self.group, 0)

    def any(self, value: bool) -> bool:
        """Whether the value is True in any process."""
        return any(self.gather(bool(value)))

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """If the context raises an error in one process, it ends with an error in all of them."""
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        messages = self.gather(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        for rank, message in enumerate(messages):
            if message is not None:
                raise RuntimeError(f"process {rank} of {self.size} failed, so the fit ends here as well. {message}")

    def copy_first(self, module: torch.nn.Module) -> None:
        """Give the parameters and buffers of process 0 to the module of each process."""
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                dense = tensor.detach().contiguous()
                dist.broadcast(dense, self._first(), group=self.group)
                tensor.copy_(dense)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat, group=self.group)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


class _Share(NamedTuple):
    """The rows of the whole batch, of ``size`` rows, that this process computes."""

    processes: Processes
    rows: slice
    size: int


class _PartsFit(NamedTuple):
    """A fit of an estimator to statistics of the parts of the data that the processes have."""

    processes: Processes
    estimator: Any


class _Local(threading.local):
    """What a thread works on: other threads of the process train on their own."""

    processes: Processes | None = None
    share: _Share | None = None
    fit: _PartsFit | None = None


_local = _Local()


def current_processes() -> Processes | None:
    """The processes that train models together in this thread; None without `distributed`, or if there is only one."""
    return _local.processes


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside the context, this process computes without the others."""
    before, _local.processes = _local.processes, None
    try:
        yield
    finally:
        _local.processes = before


@contextlib.contextmanager
def fitting_parts(processes: Processes, estimator: Any) -> Iterator[None]:
    """Inside the context, ``estimator`` is fitted to the parts of all processes; all other estimators are alone."""
    before, _local.fit = _local.fit, _PartsFit(processes, estimator)
    try:
        with alone():
            yield
    finally:
        _local.fit = before


@contextlib.contextmanager
def together(processes: Processes) -> Iterator[None]:
    """Inside the context, these processes train models together, as in `distributed`."""
    before, _local.processes = _local.processes, processes
    try:
        yield
    finally:
        _local.processes = before


def processes_of_fit(estimator: Any) -> Processes | None:
    """The processes that fit this estimator to their parts of the data; None if there are none."""
    fit = _local.fit
    return fit.processes if fit is not None and fit.estimator is estimator else None


def of_first(function: Callable[[], Any]) -> Any:
    """The result of ``function()``, in a fit to the parts of several processes that of process 0."""
    if _local.fit is None:
        return function()

    def by_itself():
        fit, _local.fit = _local.fit, None
        try:
            return function()
        finally:
            _local.fit = fit

    return _local.fit.processes.of_first(by_itself)


@contextlib.contextmanager
def share_of(batch: Any) -> Iterator[Any]:
    """The part of a batch that this process computes inside the context.

    The batch has a length and can be sliced. If it has fewer samples than there are processes, each computes all of it.
    If each process has its own data, its batch is a part of the whole batch.
    """
    processes, n = _local.processes, len(batch)
    if processes is None or (n < processes.size and not processes.shards):
        yield batch
        return
    if processes.shards:
        sizes = processes.gather(n)
        start = sum(sizes[: processes.rank])
        _local.share = _Share(processes, slice(start, start + n), sum(sizes))
    else:
        rows = slice(n * processes.rank // processes.size, n * (processes.rank + 1) // processes.size)
        _local.share, batch = _Share(processes, rows, n), batch[rows]
    try:
        yield batch
    finally:
        _local.share = None


def is_shared() -> bool:
    """Whether this process computes only a share of a batch."""
    return _local.share is not None


def own_rows(each: int = 1) -> slice:
    """The rows of the whole batch that this process computes, if each sample has ``each`` rows."""
    if _local.share is None:
        return slice(None)
    rows = _local.share.rows
    return slice(each * rows.start, each * rows.stop)


def whole_size(n: int) -> int:
    """The number of rows of the whole batch, of which this process computes ``n``; a sample may have several rows."""
    share = _local.share
    return n if share is None else n * share.size // (share.rows.stop - share.rows.start)


def own_number() -> int:
    """The number of this process while a batch is shared, otherwise 0; it makes the seeds of processes different."""
    return 0 if _local.share is None else _local.share.processes.rank


def whole_sum(own: torch.Tensor) -> torch.Tensor:
    """The sum over the whole batch, from the sum over the samples of this process."""
    share = _local.share
    return own if share is None else _Sum.apply(own, share.processes.group)  # type: ignore[no-untyped-call]


def whole_mean(own: torch.Tensor) -> torch.Tensor:
    """The mean over the whole batch, from the mean over the samples of this process."""
    share = _local.share
    if share is None:
        return own
    return whole_sum(own * ((share.rows.stop - share.rows.start) / share.size))


def whole_rows(own: torch.Tensor) -> torch.Tensor:
    """The rows (n, ...) of the whole batch, from those of this process."""
    share = _local.share
    if share is None:
        return own
    before, after = share.rows.start, share.size - share.rows.stop
    return whole_sum(torch.cat([own.new_zeros(before, *own.shape[1:]), own, own.new_zeros(after, *own.shape[1:])]))


class _Sum(torch.autograd.Function):
    """The sum of a tensor over processes. The sum of the processes' losses is differentiated, so gradients add up too.

    The backward pass of a GPU runs in another thread, so the group is not that of the thread.
    """

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, group: Any) -> torch.Tensor:  # type: ignore[override]
        ctx.group = group
        return _summed(own, group)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return _summed(gradient, ctx.group), None


def _summed(tensor, group):
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total
