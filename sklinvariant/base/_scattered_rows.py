"""Rows that no process holds alone, of which statistics are computed where the rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch


class ScatteredRows:
    """The base of rows (n, d) in parts that are elsewhere.

    It has the attributes of a tensor that readers and `Blocks` use. ``none`` are none of the rows, in their dtype, and
    ``low`` and ``high`` are the smallest and the largest value.
    """

    device = torch.device("cpu")

    def __init__(self, lengths: Sequence[int], none: torch.Tensor, low: float, high: float) -> None:
        self.lengths, self.none, self.low, self.high = list(lengths), none, low, high
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.shape, self.dtype = (int(self.starts[-1]), *none.shape[1:]), none.dtype

    def chosen(self, index: np.ndarray) -> Self:
        """The rows with these indices (m,), in ascending order. They stay where they are."""
        raise NotImplementedError

    def persisted(self) -> Self:
        """The same rows, kept in the memory where they are."""
        raise NotImplementedError

    def gathered(self, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """``function`` of each part, concatenated in this process."""
        raise NotImplementedError

    def reduced(self, function: Callable, add: Callable, others: tuple[Any, ...], overlap: int) -> Any:
        """The sum by ``add`` of ``function(part, *others)``, where others are rows of arrays that belong to the part.

        The parts overlap by the given number of rows. Sums are added in a fixed order.
        """
        raise NotImplementedError

    def fitted(self, estimator: Any, convert: Callable[[torch.Tensor], Any]) -> Any:
        """The estimator, fitted to the rows where they are; ``convert`` makes an array of each part."""
        raise NotImplementedError

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
