"""The rows of a Dask collection, of which the workers compute statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from sklinvariant.base._scattered_rows import ScatteredRows
from sklinvariant.base._tensors import as_tensor

_FAN_IN = 8  # statistics that one task adds


class DaskRows(ScatteredRows):
    """The rows (n, d) of a Dask collection, in parts that are read by the workers whenever they are needed.

    Rows are computed and returned as a tensor if they are asked for by their indices. Otherwise only statistics travel
    to this process.
    """

    def __init__(self, parts: list[Any], lengths: list[int], none: torch.Tensor, low: float, high: float) -> None:
        super().__init__(lengths, none, low, high)
        self.parts = parts

    def chosen(self, index: np.ndarray) -> DaskRows:
        """The rows with these indices (m,), in ascending order. They stay with the workers."""
        import dask

        bounds = np.searchsorted(index, self.starts)
        used = [i for i in range(len(self.parts)) if bounds[i] < bounds[i + 1]]
        own = [torch.as_tensor(index[bounds[i] : bounds[i + 1]] - self.starts[i]) for i in used]
        take = dask.delayed(_take, pure=True)
        parts = [take(self.parts[i], rows) for i, rows in zip(used, own, strict=True)]
        return DaskRows(parts, list(map(len, own)), self.none, self.low, self.high)

    def each(self) -> Iterator[torch.Tensor]:
        """The rows of one block after the other, in this process."""
        return (part.compute() for part in self.parts)

    def preceded_by(self, rows: torch.Tensor) -> DaskRows:
        """The same rows after some in memory."""
        import dask

        low, high = map(float, torch.aminmax(rows))
        parts, lengths = [dask.delayed(rows), *self.parts], [len(rows), *self.lengths]
        none = self.none.to(torch.promote_types(self.none.dtype, rows.dtype))
        return DaskRows(parts, lengths, none, min(low, self.low), max(high, self.high))

    def persisted(self) -> DaskRows:
        """The same rows, kept in the memory of the workers."""
        import dask

        return DaskRows(list(dask.persist(*self.parts)), self.lengths, self.none, self.low, self.high)

    def gathered(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        import dask

        each = dask.delayed(function, pure=False)
        return torch.cat(dask.compute(*map(each, self.parts)))

    def fitted(self, estimator: Any, convert: Callable[[torch.Tensor], Any]) -> Any:
        import dask

        each = dask.delayed(convert, pure=True)
        return estimator.fit([each(part) for part in self.parts])

    def reduced(self, function: Callable, add: Callable, others: tuple[Any, ...], overlap: int) -> Any:
        import dask

        each, total, both = dask.delayed(function, pure=False), dask.delayed(_added, pure=False), dask.delayed(_joined)
        sums = []
        for i, start in enumerate(self.starts[:-1]):
            stop, part = self.starts[i + 1], self.parts[i]
            if overlap and i + 1 < len(self.parts):
                part = both(part, [dask.delayed(_take)(next_, slice(overlap)) for next_ in self.parts[i + 1 : i + 2]])
            sums.append(each(part, *(_own(as_tensor(other)[start:stop]) for other in others)))
        while len(sums) > 1:
            sums = [total(add, sums[i : i + _FAN_IN]) for i in range(0, len(sums), _FAN_IN)]
        return sums[0].compute()


def _own(values):
    """A tensor that travels without the rest of the memory of which it is a view; a repeated value stays one value."""
    return values if values.untyped_storage().nbytes() <= values.nbytes else values.clone()


def _take(rows, index):
    return rows[index]


def _joined(rows, following):
    return torch.cat([rows, *following])


def _added(add, sums):
    total = sums[0]
    for part in sums[1:]:
        total = add(total, part)
    return total
