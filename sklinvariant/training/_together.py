"""Fits by several processes: how they begin with the same model, and end with the same attributes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sklinvariant._distributed import Processes, alone
from sklinvariant.training._checkpoint import Checkpoint

_MOST = 1000  # values of each tensor that are compared
_OWN = {"callbacks", "checkpoint", "device", "random_state", "verbose"}  # parameters that may differ


@dataclass
class Begun:
    """What a fit trains: the module and the batches, and what is known before the first epoch.

    ``fit`` computes the fitted attributes, ``held_out`` are the samples of early stopping, and ``continues`` is True if
    the module is that of an earlier fit.
    """

    fit: Any
    data: Any
    held_out: Any
    module: torch.nn.Module
    batches: Any
    checkpoint: Checkpoint | None
    max_epochs: int
    learning_rate: float
    sample_weight: Any
    continues: bool


def begin_together(
    processes: Processes, estimator: Any, generator: torch.Generator, begin: Callable[..., Begun], *, reset: bool
) -> Begun:
    """The result of ``begin(reset)``, with the seed and the parameters of process 0."""
    seed = processes.of_first(generator.initial_seed)
    generator.manual_seed(seed + processes.rank if processes.shards else seed)
    if processes.shards:
        check_same_fit(processes, estimator, {}, reset=reset)
        begun = _begin_with_parts(processes, estimator, begin, reset=reset)
    else:
        begun = begin(reset)
    _check_same_precision(processes, begun.module)
    processes.copy_first(begun.module)
    return begun


def _check_same_precision(processes, module):
    """Raise a ValueError in all processes if their modules differ in dtype, because gloo ends the processes then."""
    dtypes = processes.gather([tensor.dtype for tensor in (*module.parameters(), *module.buffers())])
    for rank, other in enumerate(dtypes):
        if other != dtypes[0]:
            raise ValueError(
                f"processes 0 and {rank} compute in different precision, because their data have different dtypes. "
                "Pass data of the same dtype to all processes"
            )


def _begin_with_parts(processes, estimator, begin, *, reset):
    """Process 0 creates the model from its part of the data. The others continue it with theirs."""
    begun: Any = None

    def first():
        nonlocal begun
        if not estimator._accepts_shards():
            raise ValueError(
                f"{type(estimator).__name__} does not support distributed(shards=True). Pass the same data to all "
                "processes, with distributed()"
            )
        with alone():
            begun = begin(reset)
        if not reset:
            return {}
        return _fitted(vars(estimator) | begun.fit.attributes(begun.module))

    attributes = processes.of_first(first)
    with processes.failing_together(), alone():
        if processes.rank:
            vars(estimator).update(attributes)
            begun = begin(False, resumes=False)
    max_epochs, learning_rate = processes.of_first(lambda: (begun.max_epochs, begun.learning_rate))
    batches = _as_many_steps(processes, begun.batches)
    return replace(begun, batches=batches, max_epochs=max_epochs, learning_rate=learning_rate, continues=not reset)


def _as_many_steps(processes, batches):
    """Batches of which every process has the same number."""
    turns = processes.gather(getattr(batches, "steps_of_turns", [batches.n_steps]))
    if len(turns[0]) > 1 and any(turn != turns[0] for turn in turns):
        raise ValueError(
            f"n_overclusters requires that all processes have as many batches, but they have {turns} in the turns of "
            "the auxiliary and of the main heads. Pass parts of the same size, or set n_overclusters=None"
        )
    return FirstBatches(batches, min(map(sum, turns)))


class FirstBatches:
    """The first ``n_steps`` batches of each pass."""

    def __init__(self, batches: Any, n_steps: int) -> None:
        self.batches, self.n_steps = batches, n_steps

    @property
    def generator(self) -> torch.Generator:
        """The generator of the batches."""
        return self.batches.generator

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.batches, self.n_steps)


def copy_first_fit(processes: Processes, estimator: Any) -> None:
    """Give the fitted attributes of process 0 to the estimator of each process."""
    attributes = processes.of_first(lambda: _fitted(vars(estimator)))
    if processes.rank:
        vars(estimator).update(attributes)


def _fitted(attributes):
    """The fitted attributes, but not an inner estimator, which was fitted by all processes together as well."""
    names = [name for name in attributes if name == "_state" or name.endswith("_")]
    return {name: attributes[name] for name in names if not hasattr(attributes[name], "get_params")}


def check_same_fit(processes: Processes, estimator: Any, data: dict[str, list[torch.Tensor]], *, reset: bool) -> None:
    """Raise a ValueError in all processes if one of them has another estimator, other data or another earlier fit.

    Some values of the tensors in ``data`` are compared, without their signs, which for principal components may depend
    on the processor.
    """
    parameters = estimator.get_params(deep=False)
    own = {
        "estimator": type(estimator).__name__,
        "earlier fit": [not reset, 0 if reset else estimator.n_iter_],
        **{name: _plain(value) for name, value in parameters.items() if name not in _OWN},
        **{name: [(tuple(tensor.shape), _some(tensor)) for tensor in tensors] for name, tensors in data.items()},
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


def _plain(value):
    """A parameter that can be compared between processes; of an object only its type."""
    return repr(value) if isinstance(value, (bool, int, float, str, tuple, type(None))) else type(value).__name__


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
