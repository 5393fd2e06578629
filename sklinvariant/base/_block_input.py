"""Reading X in blocks of samples: those of an iterable one after the other, those of a Dask collection by its workers.

Blocks without samples are skipped, all blocks must have the same features, and errors name the block.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from sklinvariant.base._dask_rows import DaskRows
from sklinvariant.base._kinds import blocks_of_stream, is_bags, without_columns
from sklinvariant.base._lazy_answers import blocks_of, no_samples, of_block
from sklinvariant.base._tensors import ArrayLike


def read_stream(estimator: Any, X: Any, check: Callable[[Any], None] | None = None) -> Iterator[Any]:
    """The `Input` of each block of an iterable, or of a generator function.

    All blocks are computed on the device of the first one, in the widest dtype so far. ``check`` raises a ValueError
    for an `Input` that cannot be used.
    """
    blocks, same, device, dtype = blocks_of_stream(X), _SameFeatures(), None, None
    for i in itertools.count():
        try:
            block = next(blocks)
        except StopIteration:
            break
        except Exception as error:
            error.add_note(f"{type(estimator).__name__}.fit: X raised this error instead of giving block {i}")
            raise
        try:
            block = without_columns(block)
            if is_without_samples(block):
                continue
            given = estimator._read(block, reset=True)
            if check is not None:
                check(given)
        except (TypeError, ValueError) as error:
            raise of_block(i, error) from error
        same.check(i, estimator.n_features_in_, getattr(estimator, "feature_names_in_", ()))
        device = given.device if device is None else device
        dtype = given.dtype if dtype is None else max(dtype, given.dtype, key=lambda each: each.itemsize)
        yield replace(given, device=device, dtype=dtype)
    if same.first is None:
        raise ValueError(
            "X is an iterable that gave no samples: 0 sample(s), but a minimum of 1 is required. If it is a "
            "generator that was read before, create a new one"
        )


def read_dask(reader: Any, estimator: Any, X: Any, reset: bool) -> tuple[Any, DaskRows, list[np.ndarray | None]]:
    """Read the blocks of a Dask collection by the workers.

    Returned are the `Input` of one block, without its data, the rows of all blocks, and the sizes of the bags of each
    block, or None for each.
    """
    import dask

    reading = dask.delayed((reader, copy.copy(estimator), reset), traverse=False)
    blocks, find, read = blocks_of(X), dask.delayed(_find), dask.delayed(_read_rows)
    # names of tasks, which Dask's errors contain
    names = [f"block-{i}-of-X-{uuid.uuid4().hex}" for i in range(len(blocks))]
    checks = [find(reading, block, dask_key_name=f"check-{name}") for name, block in zip(names, blocks, strict=True)]
    try:
        found = list(dask.compute(*checks))
    except Exception as error:
        if lost := _blocks_of_task(getattr(error, "task", None), checks):
            error.add_note(f"{type(estimator).__name__}: this is the task of {lost}, on which a worker died")
        raise
    kept = _agreeing(found)
    if reset:
        vars(estimator).pop("feature_names_in_", None)  # of an earlier fit
    for name, value in found[kept[0]].learned.items():
        setattr(estimator, name, value)
    used = [found[i] for i in kept]
    rows = DaskRows(
        [read(reading, blocks[i], dask_key_name=f"read-{names[i]}") for i in kept],
        [block.length for block in used],
        torch.cat([block.none for block in used]),
        min(block.low for block in used),
        max(block.high for block in used),
    )
    widest = max(used, key=lambda block: block.given.dtype.itemsize)
    return widest.given, rows, [block.sizes for block in used]


class _Found(NamedTuple):
    """What reading a block of samples tells, without its rows."""

    given: Any  # the `Input`, without data
    length: int
    low: float
    high: float
    none: torch.Tensor  # no rows, of the same dtype
    sizes: np.ndarray | None
    learned: dict[str, Any]  # attributes that reading sets


def _find(reading, block):
    """What reading a block tells: None for a block without samples; an error of its values, which is not raised."""
    reader, estimator, reset = reading
    if is_without_samples(block):
        return None
    estimator = copy.copy(estimator)
    before = vars(estimator).copy()
    try:
        given = reader.read(estimator, block, reset=reset)
    except (TypeError, ValueError) as error:
        return error
    rows, sizes = reader._rows(given.data)
    low, high = map(float, torch.aminmax(rows))
    learned = {name: value for name, value in vars(estimator).items() if value is not before.get(name)}
    given.data = None
    return _Found(given, len(rows), low, high, rows[:0].clone(), sizes, learned)


def _read_rows(reading, block):
    """The rows of a block, as a tensor."""
    reader, estimator, reset = reading
    return reader._rows(reader.read(copy.copy(estimator), block, reset=reset).data)[0]


def _agreeing(found):
    """The numbers of the blocks with samples. Raises a ValueError if one cannot be used, or their features differ."""
    kept = [i for i, block in enumerate(found) if block is not None]
    if not kept:
        raise no_samples(found)
    for i in kept:
        if isinstance(found[i], Exception):
            raise of_block(i, found[i]) from found[i]
    same = _SameFeatures()
    for i in kept:
        same.check(i, found[i].none.shape[1], found[i].learned.get("feature_names_in_", ()))
    return kept


class _SameFeatures:
    """Checks that all blocks have the features of the first one."""

    first: int | None = None

    def check(self, i, n_features, names):
        """Compare the number and the names of the features of block ``i``."""
        if self.first is None:
            self.first, self.n_features, self.names = i, n_features, names
        if n_features != self.n_features:
            raise ValueError(
                f"block {i} of X has {n_features} features, but block {self.first} has {self.n_features}. "
                "Use blocks of the same features"
            )
        if not np.array_equal(names, self.names):
            raise ValueError(
                f"block {i} of X has other feature names than block {self.first}. Use blocks of the same features"
            )


def is_without_samples(block: ArrayLike) -> bool:
    """Whether a block is an array without samples, or bags without descriptors."""
    if is_bags(block):
        return len(block.values) == 0
    if isinstance(block, (list, tuple)):
        return all(hasattr(item, "__len__") and len(item) == 0 for item in block)
    return 0 in tuple(getattr(block, "shape", ()))[:-1]


def _blocks_of_task(task, checks):
    """The blocks that need a task of a Dask graph, such as "block 2 of X"; an empty text if there are none."""
    from dask.highlevelgraph import HighLevelGraph

    needs = HighLevelGraph.merge(*(check.__dask_graph__() for check in checks)).get_all_dependencies()
    blocks = []
    for i, check in enumerate(checks):
        pending, seen = [check.key], set()
        while pending:
            key = pending.pop()
            if key not in seen:
                seen.add(key)
                pending.extend(needs.get(key, ()))
        if task in seen:
            blocks.append(f"block {i} of X")
    return ", ".join(blocks) if len(blocks) < len(checks) else ""
