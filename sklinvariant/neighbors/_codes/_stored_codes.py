"""The ids of stored codes, and memory for codes that are added block by block."""

from typing import Any

import numpy as np

from sklinvariant.base import to_numpy

_BLOCK = 1 << 20  # ids compared at a time


class GrowingRows:
    """Rows in an array with spare space at its end, so that adding blocks does not copy all rows each time.

    The arrays that `extended` returned before stay valid and unchanged.
    """

    def __init__(self) -> None:
        self.memory = np.empty((0, 0), dtype=np.uint8)
        self.used = 0

    def extended(self, rows: np.ndarray, added: np.ndarray) -> np.ndarray:
        """The rows followed by the added ones."""
        n, total = len(rows), len(rows) + len(added)
        if rows.base is not self.memory or self.used != n or total > len(self.memory):
            memory = np.empty((total + total // 2 if n else total, *rows.shape[1:]), dtype=rows.dtype)
            memory[:n] = rows
            self.memory = memory
        self.memory[n:total] = added
        self.used = total
        return self.memory[:total]


def whole_numbers(ids: Any) -> np.ndarray:
    """Ids as int64. Raises a ValueError for other values than integers (n,)."""
    ids = np.asarray(to_numpy(ids))
    if ids.size == 0:
        return np.empty(0, dtype=np.int64)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or (ids.dtype == np.uint64 and (ids > np.iinfo(np.int64).max).any()):
        raise ValueError(
            f"ids has dtype {ids.dtype} and shape {ids.shape}, but integers (int64) of shape (n,) are required. Pass "
            "one integer for each code."
        )
    return ids.astype(np.int64)


def check_ids(ids: Any, n: int, first: int) -> tuple[np.ndarray | None, int]:
    """The ids (None if they continue from ``first``), and the next free id."""
    if ids is None:
        if first + n > np.iinfo(np.int64).max:
            raise ValueError(
                f"ids=None continues after the largest id, {first - 1}, but ids must fit into int64. Pass ids."
            )
        return None, first + n
    ids = whole_numbers(ids)
    if len(ids) != n:
        raise ValueError(f"ids has {len(ids)} entries, but there are {n} codes. Pass one id for each code.")
    in_order = np.sort(ids)
    repeated = in_order[1:][in_order[1:] == in_order[:-1]]
    if len(repeated):
        raise ValueError(
            f"ids contains {repeated[0]} {(ids == repeated[0]).sum()} times, but ids must be unique. Remove duplicates."
        )
    return ids, int(in_order[-1]) + 1


def rows_of_ids(wanted: np.ndarray, ids: np.ndarray | None, removed: np.ndarray | None, n: int) -> np.ndarray:
    """The rows of wanted ids, in the order in which they are stored; ids that are not stored have none.

    ``ids`` (n,) are those of all rows, None for the row numbers; ``removed`` (n,) masks rows to leave out.
    """
    wanted = np.sort(wanted)
    if ids is None:
        rows = wanted[(wanted >= 0) & (wanted < n)]
    else:
        found = [start + _rows_in(ids[start : start + _BLOCK], wanted) for start in range(0, n, _BLOCK)]
        rows = np.concatenate([np.empty(0, dtype=np.int64), *found])
    return rows if removed is None else rows[~removed[rows]]


def _rows_in(ids, in_order):
    """The rows of ids that occur among sorted ones."""
    if len(in_order) == 0:
        return np.empty(0, dtype=np.int64)
    places = np.searchsorted(in_order, ids).clip(max=len(in_order) - 1)
    return np.flatnonzero(in_order[places] == ids)
