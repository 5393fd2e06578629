"""The rows of a Dask collection, of which the workers compute statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sklinvariant.base._tensors import as_tensor

_FAN_IN = 8  # statistics that one task adds


class DaskRows:
    """The rows (n, d) of a Dask collection, in parts that are read by the workers whenever they are needed.

    It has the attributes of a tensor that readers and `Blocks` use. Rows are computed and returned as a tensor if they
    are asked for by their indices. Otherwise only statistics travel to this process.
    """

    device = torch.device("cpu")

    def __init__(self, parts: list[Any], lengths: list[int], none: torch.Tensor, low: float, high: float) -> None:
        self.parts, self.lengths, self.none, self.low, self.high = parts, lengths, none, low, high
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.shape, self.dtype = (int(self.starts[-1]), *none.shape[1:]), none.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def is_floating_point(self) -> bool:
        """Whether the values are floats."""
        return self.none.is_floating_point()

    def min(self) -> torch.Tensor:
        """The smallest value."""
        return torch.tensor(self.low, dtype=torch.float64)

    def max(self) -> torch.Tensor:
        """The largest value."""
        return torch.tensor(self.high, dtype=torch.float64)

    def amin(self, dim: int) -> torch.Tensor:
        """The smallest value of each row."""
        return self.gathered(lambda part: part.amin(dim))

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """All rows in this process, as a tensor of another device or dtype."""
        return self[:].to(*args, **kwargs)

    def __getitem__(self, index: int | slice | np.ndarray | torch.Tensor) -> torch.Tensor:
        """One row or some of the rows, as a tensor."""
        index = np.arange(len(self))[index]
        if index.ndim == 0:
            return self[index[None]][0]
        if len(index) == 0:
            return self.none
        order = np.argsort(index, kind="stable")
        found = self.chosen(index[order]).gathered(lambda part: part)
        return found[torch.as_tensor(np.argsort(order))]

    def chosen(self, index: np.ndarray) -> DaskRows:
        """The rows with these indices (m,), in ascending order. They stay with the workers."""
        import dask

        bounds = np.searchsorted(index, self.starts)
        used = [i for i in range(len(self.parts)) if bounds[i] < bounds[i + 1]]
        own = [torch.as_tensor(index[bounds[i] : bounds[i + 1]] - self.starts[i]) for i in used]
        take = dask.delayed(_take, pure=True)
        parts = [take(self.parts[i], rows) for i, rows in zip(used, own, strict=True)]
        return DaskRows(parts, list(map(len, own)), self.none, self.low, self.high)

    def persisted(self) -> DaskRows:
        """The same rows, kept in the memory of the workers."""
        import dask

        return DaskRows(list(dask.persist(*self.parts)), self.lengths, self.none, self.low, self.high)

    def gathered(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """``function`` of each part, concatenated in this process."""
        import dask

        each = dask.delayed(function, pure=False)
        return torch.cat(dask.compute(*map(each, self.parts)))

    def reduced(self, function: Callable, add: Callable, others: tuple[Any, ...], overlap: int) -> Any:
        """The sum by ``add`` of ``function(part, *others)``, where others are rows of arrays that belong to the part.

        The parts overlap by the given number of rows. Sums are added in a fixed order.
        """
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
