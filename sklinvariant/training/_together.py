"""Fits by several processes: how they begin with the same model, and end with the same attributes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from sklinvariant._distributed import Processes, alone
from sklinvariant.base import check_same, fitted_attributes
from sklinvariant.training._checkpoint import Checkpoint


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
        with alone():
            begun = begin(reset)
        if not reset:
            return {}
        return fitted_attributes(vars(estimator) | begun.fit.attributes(begun.module), nested=False)

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


def check_same_fit(processes: Processes, estimator: Any, data: dict[str, list[torch.Tensor]], *, reset: bool) -> None:
    """Raise a ValueError in all processes if one of them has another estimator, other data or another earlier fit."""
    others = {"earlier fit": [not reset, 0 if reset else estimator.n_iter_], **data}
    check_same(processes, estimator, others)
