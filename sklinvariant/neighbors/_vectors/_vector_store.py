"""Vectors in 32, 16 or 8 bits per number, in memory or in a memory-mapped file."""

import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from sklinvariant.base import check_place, replacing
from sklinvariant.ops import power_of_two

_STEPS = 127  # an int8 holds -127 to 127
_LARGEST_STORED = 2.0**15  # stored number of the rows of a fit, in any precision: float16 holds twice as much
_DIGESTED_ROWS = 16
_SAMPLED_ROWS = 5000  # from which medians and quantiles are computed
_BLOCK_BYTES = 1 << 26
_HEADER_BYTES = 128
_MARK = b" # sklinvariant\n"  # end of the header of every file that is written here; readers take it for a comment


class Precision:
    """Converts rows to the numbers that are stored, (x - offset) / step for each feature.

    With floats, the offset is the median of a feature, so that a few very large rows do not take the precision of all
    others. All steps are the same power of two, ``unit``, so that numbers of any scale can be stored. With "int8", 254
    steps cover the range of a feature between its 0.1 % and 99.9 % quantiles, and values beyond it are clipped.
    Medians and quantiles are those of at most 5000 rows. Distances are computed in float32 in the unit.
    """

    def __init__(self, name: str, offset: np.ndarray, step: np.ndarray, unit: float) -> None:
        self.dtype, self.offset, self.step, self.unit = np.dtype(name), offset, step, unit

    @classmethod
    def of(cls, name: str, X: np.ndarray) -> "Precision":
        """The precision for the features of X (n, d)."""
        rows = np.linspace(0, len(X) - 1, min(len(X), _SAMPLED_ROWS)).astype(np.intp)
        sample = X[rows].astype(np.float64)
        low, high = (f(X, axis=0).astype(np.float64) for f in (np.min, np.max))
        return cls._of_bytes(sample, low, high) if name == "int8" else cls._of_floats(name, sample, low, high)

    @classmethod
    def _of_floats(cls, name, sample, low, high):
        offset = np.quantile(sample, 0.5, axis=0, method="lower")
        spread = np.median(np.abs(sample - offset), axis=0)
        reach = np.maximum(high - offset, offset - low)
        unit = power_of_two(max(spread.max(), reach.max() / _LARGEST_STORED))
        return cls(name, offset, np.full(len(offset), unit), unit)

    @classmethod
    def _of_bytes(cls, sample, low, high):
        inner_low = np.quantile(sample, 0.001, axis=0, method="lower")
        inner_high = np.quantile(sample, 0.999, axis=0, method="higher")
        varies = inner_high > inner_low  # otherwise, the few values that differ need the whole range
        low, high = np.where(varies, inner_low, low), np.where(varies, inner_high, high)
        half = high / 2 - low / 2
        unit = power_of_two(half.max())
        return cls("int8", low + half, np.where(half > 0, half / _STEPS, unit), unit)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """The numbers to store."""
        numbers = (rows - self.offset) / self.step
        if self.dtype == np.int8:
            return np.rint(numbers).clip(-_STEPS, _STEPS).astype(np.int8)
        if np.abs(numbers).max(initial=0) > np.finfo(self.dtype).max:
            raise ValueError(
                f"X contains numbers up to {np.abs(rows).max():.3g}, which are too large for {self.dtype.name} in the "
                "unit of the rows of the fit. Fit again with all rows."
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


def check_replaceable(path: str | os.PathLike[str], X: Any) -> None:
    """Raise an OSError or ValueError unless vectors can be stored in this file without loss of what it holds.

    A file that exists must have been written here, and X must not be memory-mapped from it.
    """
    check_place(path)
    if not os.path.exists(path):
        return
    if _is_mapped_from(path, X):
        raise ValueError(
            f"vectors={os.fspath(path)!r} is the file from which X is memory-mapped, and would be replaced by rounded "
            "vectors. Pass the name of another file."
        )
    with open(path, "rb") as file:
        if not file.read(_HEADER_BYTES).endswith(_MARK):
            raise FileExistsError(
                f"vectors={os.fspath(path)!r} exists, but only a file that EmbeddingNeighbors has written is replaced. "
                "Pass the name of another file, or remove this one."
            )


def _is_mapped_from(path, X):
    """Whether X is, or is a view of, an array or data frame that is memory-mapped from a file.

    A tensor does not tell whether its memory is mapped.
    """
    X = np.asarray(X) if hasattr(X, "iloc") else X
    while X is not None:
        if isinstance(X, np.memmap) and X.filename and os.path.exists(X.filename):
            return os.path.samefile(X.filename, path)
        X = getattr(X, "base", None)
    return False


def write_rows(path: str | os.PathLike[str], X: np.ndarray, precision: Precision) -> None:
    """Write rows to a ``.npy`` file, which replaces an existing one as a whole."""
    with replacing(path) as file:
        _write_header(file, X.shape, precision.dtype)
        for block in blocks_of_rows(X):
            file.write(precision.encode(block).tobytes())


def keep_rows(path: str | os.PathLike[str], stored: np.ndarray, rows: np.ndarray) -> None:
    """Replace a file by some of the rows that are stored there."""
    with replacing(path) as file:
        _write_header(file, (len(rows), stored.shape[1]), stored.dtype)
        for part in np.array_split(rows, -(-stored[:1].nbytes * len(rows) // _BLOCK_BYTES)):
            file.write(stored[part].tobytes())


def append_rows(
    path: str | os.PathLike[str], n: int, X: np.ndarray, precision: Precision, digest: str | None = None
) -> None:
    """Write rows after the first n of a file. Its header is changed last, so a failure leaves n rows."""
    open_rows(path, n, X.shape[1], precision.dtype, digest)  # checks the file
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
    """The header of a ``.npy`` file. numpy pads it to 128 bytes for every number of rows; the mark ends the padding."""
    header: Any = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, header)
    file.write(written.getvalue()[: -len(_MARK)] + _MARK)


def digest_of(rows: np.ndarray) -> str:
    """A digest of 16 of the stored rows, from the first to the last, which tells files of different fits apart."""
    sampled = np.arange(_DIGESTED_ROWS) * (len(rows) - 1) // (_DIGESTED_ROWS - 1)
    return hashlib.sha256(rows[sampled].tobytes()).hexdigest()


def open_rows(path: str | os.PathLike[str], n: int, d: int, dtype: np.dtype, digest: str | None = None) -> np.ndarray:
    """The first n rows of a file, memory-mapped.

    Raises a ValueError if the file holds other vectors, and a FileNotFoundError if there is none. ``digest`` is that of
    the rows, None if it is not known.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"vectors={os.fspath(path)!r} does not exist, seen from the folder {os.getcwd()}. If the file of the "
            "vectors is elsewhere, call set_params(vectors=...) with its path"
        )
    rows = np.lib.format.open_memmap(path, mode="r")
    if rows.ndim != 2 or rows.dtype != dtype or rows.shape[1] != d or len(rows) < n or not rows.flags.c_contiguous:
        raise ValueError(
            f"{os.fspath(path)} holds {rows.dtype} of shape {rows.shape}, but {dtype} of shape ({n}, {d}) was stored "
            "there. Restore the file, or fit again."
        )
    if digest is not None and digest != digest_of(rows[:n]):
        raise ValueError(
            f"{os.fspath(path)} holds other vectors than this estimator stored there: another fit or partial_fit has "
            "changed the file. Fit again, and give each estimator its own file (vectors=)."
        )
    return rows[:n]
