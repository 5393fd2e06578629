"""The rows of several processes of `torch.distributed`, each of which has its own part, and fits to them."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from sklinvariant._distributed import Processes, fitting_parts, together
from sklinvariant.base._kinds import is_stream, name_of_stream, without_columns
from sklinvariant.base._lazy_answers import is_lazy
from sklinvariant.base._scattered_rows import ScatteredRows
from sklinvariant.base._tensors import as_tensor

_MOST = 1000  # values of each tensor that are compared
_OWN = {"callbacks", "checkpoint", "device", "random_state", "verbose"}  # parameters that may differ


class ShardRows(ScatteredRows):
    """The rows (n, d) of all processes, those of process 0 first. ``own`` are those of this process.

    All processes call the same methods, in the same order, and get the same results.
    """

    def __init__(
        self, processes: Processes, own: torch.Tensor, lengths: list[int], none: torch.Tensor, low: float, high: float
    ) -> None:
        super().__init__(lengths, none, low, high)
        self.processes, self.own = processes, own

    @classmethod
    def of(cls, processes: Processes, own: torch.Tensor) -> ShardRows:
        """The rows of all processes, from those of this process."""
        low, high = map(float, torch.aminmax(own))
        lengths, nones, lows, highs = zip(*processes.gather((len(own), own[:0].cpu(), low, high)), strict=True)
        return cls(processes, own, [*lengths], torch.cat(nones), min(lows), max(highs))

    def chosen(self, index: np.ndarray) -> ShardRows:
        """The rows with these indices (m,), in ascending order. They stay with their processes."""
        bounds, rank = np.searchsorted(index, self.starts), self.processes.rank
        rows = torch.as_tensor(index[bounds[rank] : bounds[rank + 1]] - self.starts[rank]).to(self.own.device)
        lengths = np.diff(bounds).tolist()
        return ShardRows(self.processes, self.own[rows], lengths, self.none, self.low, self.high)

    def persisted(self) -> ShardRows:
        """The same rows: each process reads its own part again, which may be memory-mapped."""
        return self

    def gathered(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return torch.cat(self._of_each(lambda: function(self.own)))

    def reduced(self, function: Callable, add: Callable, others: tuple[Any, ...], overlap: int) -> Any:
        rank = self.processes.rank
        start, stop = self.starts[rank : rank + 2]
        following = self.own[:0]
        if overlap:
            firsts = self.processes.gather(self.own[:overlap].cpu())
            # in the widest dtype: one that holds fewer numbers could make infinities of them
            following = torch.cat([following.cpu(), *firsts[rank + 1 :]])[:overlap].to(self.own.device)

        def of(rows, start, stop):
            return function(rows, *(as_tensor(other)[start:stop] for other in others))

        def own_sum():
            if not len(following):
                return of(self.own, start, stop)
            border = torch.cat([self.own[-overlap:], following])  # not all rows, which may be memory-mapped
            return add(of(self.own, start, stop - overlap), of(border, stop - overlap, stop))

        return functools.reduce(add, self._of_each(own_sum))

    def fitted(self, estimator: Any, convert: Callable[[torch.Tensor], Any]) -> Any:
        with together(self.processes):
            return estimator.fit(convert(self.own))

    def _of_each(self, function):
        """The results of ``function()`` in the processes that have rows, on the device of this process."""
        result = io.BytesIO()
        if len(self.own):
            torch.save(function(), result)
        found = [io.BytesIO(sent) for sent in self.processes.gather(result.getvalue()) if sent]
        return [torch.load(sent, map_location=_here, weights_only=False) for sent in found]


def _here(storage, location):
    """The storage of a tensor of another process, on the current device of this process."""
    return storage if location == "cpu" else storage.cuda()


@contextlib.contextmanager
def fitting_together(processes: Processes, estimator: Any, method: str, X: Any) -> Iterator[None]:
    """A fit of an estimator to the parts of all processes, each of which passes its own X.

    All processes end with the fitted attributes of process 0.
    """
    with processes.failing_together():
        _refuse_blocks(estimator, X)
    continues = method == "partial_fit" or getattr(estimator, "warm_start", False)
    earlier = _numbers_of(vars(estimator).get("_state")) if continues else []
    check_same(processes, estimator, {"method": method, "earlier fit": earlier})
    with fitting_parts(processes, estimator):
        yield
    copy_first_fit(processes, estimator)


def _refuse_blocks(estimator, X):
    if is_lazy(X) or is_stream(X):
        raise ValueError(
            f"X is a {name_of_stream(X)}, but {type(estimator).__name__} needs the part of this process in memory or "
            "memory-mapped inside of distributed(shards=True). Pass an array, or call partial_fit for each block"
        )


def read_shard(reader: Any, estimator: Any, X: Any, processes: Processes, reset: bool) -> Any:
    """The `Input` of the rows of all processes, of which X are those of this process."""
    with processes.failing_together():
        X = without_columns(X)
        reader.refuse_others(type(estimator).__name__, X)
        given = reader._check(estimator, X, reader.kind_of(X), reset)
    rows, sizes = reader._rows(given.data)
    names = [*getattr(estimator, "feature_names_in_", ())]
    kind = _Kind(given.in_pairs, estimator.n_features_in_, tuple(rows.shape[1:]), names)
    found = processes.gather((kind, given.dtype, sizes))
    for rank, (other, _, _) in enumerate(found):
        if other != found[0][0]:
            difference = _difference(found[0][0], other)
            raise ValueError(
                f"X of process {rank} does not continue that of process 0: {difference}. Pass parts of one table"
            )
    dtype = max((dtype for _, dtype, _ in found), key=lambda dtype: dtype.itemsize)
    data = reader._with_sizes(ShardRows.of(processes, rows), [sizes for _, _, sizes in found])
    return replace(given, data=data, dtype=dtype)


class _Kind(NamedTuple):
    """What must be the same in the parts of all processes."""

    in_pairs: bool
    n_features: int
    shape: tuple[int, ...]
    names: list[str]


def _difference(first, other):
    """How the part of another process differs from that of process 0."""
    if first.in_pairs != other.in_pairs:
        return "only one of them contains pairs"
    if first[1:3] != other[1:3]:
        return f"it has {other.n_features} features instead of {first.n_features}"
    return "it has other feature names, or only one of them has names"


def copy_first_fit(processes: Processes, estimator: Any, *, nested: bool = True) -> None:
    """Give the fitted attributes of process 0 to the estimator of each process."""
    attributes = processes.of_first(lambda: fitted_attributes(vars(estimator), nested=nested))
    if processes.rank:
        vars(estimator).update(attributes)


def fitted_attributes(attributes: dict[str, Any], *, nested: bool) -> dict[str, Any]:
    """The fitted attributes among the attributes of an estimator, with or without nested estimators."""
    names = [name for name in attributes if name == "_state" or name.endswith("_")]
    return {name: attributes[name] for name in names if nested or not hasattr(attributes[name], "get_params")}


def check_same(processes: Processes, estimator: Any, others: dict[str, Any]) -> None:
    """Raise a ValueError in all processes if one of them has another estimator, or other values of ``others``.

    Some values of the tensors in ``others`` are compared, without their signs, which for principal components may
    depend on the processor.
    """
    parameters = estimator.get_params(deep=False)
    own = {
        "estimator": type(estimator).__name__,
        **{name: _plain(value) for name, value in parameters.items() if name not in _OWN},
        **{name: _compared(value) for name, value in others.items()},
    }
    everything = processes.gather(own)
    first = everything[0]
    for rank, other in enumerate(everything):
        differing = [name for name in first if not _equal(first[name], other.get(name))]
        if differing:
            raise ValueError(
                f"{type(estimator).__name__}: processes 0 and {rank} have different {', '.join(differing)}"
                f"{_sizes(first, other)}. Pass the same data and parameters to all processes, or fit outside of "
                "sklinvariant.distributed()"
            )


def _numbers_of(state):
    """The arrays of a fitted state, as tensors; an empty list if there is no state."""
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in _numbers_of(value)]
    return [as_tensor(state)] if isinstance(state, np.ndarray) and state.dtype.kind in "fiu" else []


def _plain(value):
    """A parameter that can be compared between processes; of an object only its type."""
    return repr(value) if isinstance(value, (bool, int, float, str, tuple, type(None))) else type(value).__name__


def _compared(value):
    """A value that can be compared; a list of tensors by their shapes and some of their values."""
    if isinstance(value, list) and all(isinstance(tensor, torch.Tensor) for tensor in value):
        return [(tuple(tensor.shape), _some(tensor)) for tensor in value]
    return value


def _some(tensor):
    """Magnitudes of evenly spaced values."""
    flat = tensor.detach().flatten()
    places = torch.linspace(0, len(flat) - 1, min(len(flat), _MOST), dtype=torch.float64).long().to(flat.device)
    return flat[places].cpu().double().abs().numpy()


def _equal(first, other):
    if not isinstance(first, list) or not first or not isinstance(first[0], tuple):
        return first == other
    shapes, others = [shape for shape, _ in first], [shape for shape, _ in other]
    if shapes != others:
        return False
    return all(
        np.allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(a).max(initial=0))
        for (_, a), (_, b) in zip(first, other, strict=True)
    )


def _sizes(first, other):
    """The shapes of the samples, if they differ."""
    sizes = [sum(shape[0] for shape, _ in own.get("samples", [])[:1]) for own in (first, other)]
    return f" ({sizes[0]} and {sizes[1]} samples)" if sizes[0] != sizes[1] else ""
