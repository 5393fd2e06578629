"""The rows of an array in blocks, each of which is converted when it is read."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import torch

from sklinvariant.base import ArrayOrTensor, ScatteredRows, as_tensor
from sklinvariant.ops import DOUBLE_ROWS, chunk_bytes, compute_dtype, float64_device

BLOCK_BYTES = 4 << 20  # size of a block on a CPU
HELD_BYTES = 256 << 20  # largest size of the converted rows that `Blocks.held` keeps in memory


class Blocks:
    """The rows of an array, tensor or memory-mapped file, as tensors of bounded size. They can be read several times.

    A block is converted when it is read, and can be freed before the next one is read.

    Parameters
    ----------
    values : array, tensor or ScatteredRows of shape (n, ...)
        The rows. Those of `ScatteredRows` are read where they are, to compute the statistics of `accumulate`.
    *others : array or tensor
        Arrays that are read together with the rows, such as weights (n,). Each block is then a tuple.
    device : str, torch.device or None, default=None
        Device of the blocks. None is the device of the rows.
    dtype : torch.dtype or None, default=None
        Dtype of the blocks. None is float64 for rows of float64, else float32.
    size : int or None, default=None
        Number of rows of a block. None chooses it from the size of a row.
    overlap : int, default=0
        Number of rows of the next block that are repeated at the end of a block.
    """

    def __init__(
        self,
        values: ArrayOrTensor | ScatteredRows,
        *others: ArrayOrTensor,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        size: int | None = None,
        overlap: int = 0,
    ) -> None:
        none = as_tensor(values[:0])
        self.values, self.others, self.overlap = values, others, overlap
        self.device = none.device if device is None else torch.device(device)
        self.dtype = compute_dtype(none.dtype) if dtype is None else dtype
        budget = chunk_bytes(BLOCK_BYTES, self.device)
        self.size = size or max(1, budget // (self.dtype.itemsize * max(1, math.prod(values.shape[1:]))))
        self._converted = (none.device, none.dtype) == (self.device, self.dtype)
        self._functions: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = ()

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self.values), self.size):
            stop = start + self.size
            rows = slice(start, stop + self.overlap)
            others = [as_tensor(other[start:stop]).to(self.device) for other in self.others]
            yield (self.take(rows), *others) if others else self.take(rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n, ...) of all rows together."""
        if not self._functions:
            return tuple(self.values.shape)
        a_row = (
            self.values.none.new_zeros(1, *self.values.shape[1:])
            if isinstance(self.values, ScatteredRows)
            else self.values[:1]
        )
        return len(self.values), *self._convert(a_row).shape[1:]

    def take(self, index: slice | torch.Tensor) -> torch.Tensor:
        """Some of the rows, converted."""
        where: Any = index
        if isinstance(index, torch.Tensor):
            where = index.to(self.values.device) if isinstance(self.values, torch.Tensor) else index.cpu().numpy()
        return self._convert(self.values[where])

    def _convert(self, rows):
        rows = as_tensor(rows).detach().to(device=self.device, dtype=self.dtype)
        for function in self._functions:
            rows = function(rows)
        return rows

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        """The same blocks with ``function`` applied to their rows. It must process each row independently."""
        return self._with(_functions=(*self._functions, function))

    def of_size(self, size: int) -> Self:
        """The same rows in blocks of another size."""
        return self._with(size=size)

    def double(self) -> Self:
        """The same rows in float64, in smaller blocks. They are on the CPU if the device has no float64."""
        device = float64_device(self.device)
        size = self.size if device.type != "cpu" else min(self.size, DOUBLE_ROWS)
        return self._with(device=device, dtype=torch.float64, size=size, _converted=False)

    def held(self) -> Self:
        """The same blocks, with the converted rows in memory unless these take more than 256 MiB."""
        fits = math.prod(self.shape) * self.dtype.itemsize <= HELD_BYTES
        if isinstance(self.values, ScatteredRows):
            return self._with(values=self.values.persisted()) if fits else self
        if (self._converted and not self._functions) or not fits:
            return self
        return self._with(values=self.whole(), _converted=True, _functions=())

    def whole(self) -> torch.Tensor:
        """All rows, converted, as one tensor."""
        if isinstance(self.values, ScatteredRows):
            return self.values.gathered(partial(_whole_part, self._with(values=None)))
        rows = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for start in range(0, len(rows), self.size):
            rows[start : start + self.size] = self.take(slice(start, start + self.size))
        return rows

    def part(self, values: ArrayOrTensor, *others: ArrayOrTensor) -> Self:
        """The blocks of one of the parts of `ScatteredRows`."""
        return self._with(values=values, others=others, _converted=False)

    def _with(self, **changes):
        other = copy.copy(self)
        vars(other).update(changes)
        return other


def _whole_part(blocks, part):
    return blocks.part(part).whole()
