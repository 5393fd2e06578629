"""Vectors in 32, 16 or 8 bits per number, in memory or in a memory-mapped file."""

import os
from collections.abc import Iterator

import numpy as np

from sklinvariant.base import replacing
from sklinvariant.ops import power_of_two

_STEPS = 127  # an int8 holds -127 to 127
_BLOCK_BYTES = 1 << 26


class Precision:
    """Converts rows to the numbers that are stored, (x - offset) / step for each feature.

    The offset is the middle of the range of a feature. With floats, all steps are the same power of two, ``unit``, so
    that numbers of any scale can be stored. With "int8", a step is 1/254 of the range of a feature, and values beyond
    the range, which later rows may have, are clipped. Distances are computed in float32 in the unit.
    """

    def __init__(self, name: str, offset: np.ndarray, step: np.ndarray, unit: float) -> None:
        self.dtype, self.offset, self.step, self.unit = np.dtype(name), offset, step, unit

    @classmethod
    def of(cls, name: str, X: np.ndarray) -> "Precision":
        """The precision for the ranges of the features of X (n, d)."""
        low, high = (f(X, axis=0).astype(np.float64) for f in (np.min, np.max))
        half = high / 2 - low / 2
        unit = power_of_two(half.max())
        step = half / _STEPS if name == "int8" else np.full(len(half), unit)
        return cls(name, low + half, np.where(step > 0, step, unit), unit)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The numbers to store."""
        numbers = (rows - self.offset) / self.step
        if self.dtype == np.int8:
            return np.rint(numbers).clip(-_STEPS, _STEPS).astype(np.int8)
        if np.abs(numbers).max(initial=0) > np.finfo(self.dtype).max:
            raise ValueError(
                f"X contains numbers up to {np.abs(rows).max():.3g}, which are too large for {self.dtype.name} beside "
                f"the rows of the fit, which lie within {self.unit:.3g} of their middle. Fit again with all rows."
            )
        return numbers.astype(self.dtype)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """The rows up to rounding, in float64."""
        return stored * self.step + self.offset

    def distances(self, query: np.ndarray, stored: np.ndarray) -> np.ndarray:
        """Euclidean distances (n,) of a query (d,) from stored rows (n, d)."""
        differences = self.in_unit(stored) - self.centred(query)
        squares = np.einsum("nd,nd->n", differences, differences)
        return np.sqrt(squares, dtype=np.float64) * self.unit

    def in_unit(self, stored: np.ndarray) -> np.ndarray:
        """Stored rows minus the offset, in float32 and in the unit."""
        rows = stored.astype(np.float32)
        return rows * (self.step / self.unit).astype(np.float32) if self.dtype == np.int8 else rows

    def centred(self, rows: np.ndarray) -> np.ndarray:
        """Rows minus the offset, in float32 and in the unit."""
        return ((rows - self.offset) / self.unit).astype(np.float32)


def blocks_of_rows(X: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of rows that are small enough to copy."""
    step = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(X), step):
        yield X[start : start + step]


def write_rows(path: str | os.PathLike[str], X: np.ndarray, precision: Precision) -> None:
    """Write rows to a ``.npy`` file, which replaces an existing one as a whole."""
    with replacing(path) as file:
        _write_header(file, X.shape, precision.dtype)
        for block in blocks_of_rows(X):
            file.write(precision.encode(block).tobytes())


def append_rows(path: str | os.PathLike[str], n: int, X: np.ndarray, precision: Precision) -> None:
    """Write rows after the first n of a file. Its header is changed last, so a failure leaves n rows."""
    open_rows(path, n, X.shape[1], precision.dtype)  # checks the file
    with open(path, "r+b") as file:
        _write_header(file, (n, X.shape[1]), precision.dtype)
        file.seek(n * X.shape[1] * precision.dtype.itemsize, os.SEEK_CUR)
        for block in blocks_of_rows(X):
            file.write(precision.encode(block).tobytes())
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        _write_header(file, (n + len(X), X.shape[1]), precision.dtype)


def _write_header(file, shape, dtype):
    """The header of a ``.npy`` file. numpy pads it, so that its length is the same for every number of rows."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def open_rows(path: str | os.PathLike[str], n: int, d: int, dtype: np.dtype) -> np.ndarray:
    """The first n rows of a file, memory-mapped. Raises a ValueError if the file holds other vectors."""
    rows = np.lib.format.open_memmap(path, mode="r")
    if rows.ndim != 2 or rows.dtype != dtype or rows.shape[1] != d or len(rows) < n or not rows.flags.c_contiguous:
        raise ValueError(
            f"{os.fspath(path)} holds {rows.dtype} of shape {rows.shape}, but {dtype} of shape ({n}, {d}) was stored "
            "there. Restore the file, or fit again."
        )
    return rows[:n]
