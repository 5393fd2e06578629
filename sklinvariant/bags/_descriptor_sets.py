"""DescriptorSets: bags of any size of local descriptors, as one array of values and the offsets of the bags."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import IO, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import DTypeLike

from sklinvariant._compat import get_namespace
from sklinvariant.base import (
    FLOAT8,
    ArrayLike,
    ArrayOrTensor,
    ScatteredRows,
    as_numpy,
    as_tensor,
    dense_tensor,
    replacing,
)
from sklinvariant.ops import gather_bags, largest_value

_CHECKED_ROWS = 1 << 16  # descriptors that are checked at a time


class DescriptorSets:
    """A ragged array of bags: the descriptors of bag ``i`` are ``values[offsets[i]:offsets[i + 1]]``.

    It can be indexed and sliced like an array of bags, so ``train_test_split``, ``KFold`` and ``GridSearchCV`` accept
    it. A slice is a view; an index array copies the selected values once.

    Parameters
    ----------
    values : array or tensor of shape (N, d)
        The descriptors of all bags in order. Any numeric dtype; may be memory-mapped or on a GPU.
    offsets : array-like of shape (n + 1,)
        Start of each bag: non-decreasing from 0 to N. Two equal consecutive offsets mean an empty bag.

    Attributes
    ----------
    values, offsets
        The arguments; offsets are converted to int64.
    sizes : ndarray of shape (n,)
        Number of descriptors in each bag.
    shape : tuple
        ``(n, m, d)``; m is None if the bags differ in size.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import DescriptorSets
    >>> bags = DescriptorSets.from_bags([np.zeros((3, 2)), np.ones((1, 2))])
    >>> bags.shape, len(bags[1:]), bags[1]
    ((2, None, 2), 1, array([[1., 1.]]))
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: ArrayLike, offsets: ArrayLike) -> None:
        if not isinstance(values, (np.ndarray, torch.Tensor)):
            values = np.asarray(values)
        if isinstance(values, torch.Tensor) and values.dtype not in FLOAT8:  # converted when they are read
            values = dense_tensor(values, "values")
        if values.ndim != 2:
            raise ValueError(f"values must be of shape (N, d), got {tuple(values.shape)}. Use DescriptorSets.from_bags")
        _check_numeric(values, "values")
        offsets = np.asarray(offsets.cpu() if isinstance(offsets, torch.Tensor) else offsets)
        if offsets.ndim != 1 or len(offsets) == 0 or not np.issubdtype(offsets.dtype, np.integer):
            raise ValueError(
                f"offsets must be integers of shape (n + 1,), got shape {offsets.shape} and dtype {offsets.dtype}"
            )
        offsets = offsets.astype(np.int64, copy=False)
        if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets must be non-decreasing from 0 to {len(values)}, the number of descriptors")
        self.values = values
        self.offsets = offsets

    @classmethod
    def _of_rows(cls, values: ScatteredRows, offsets: np.ndarray) -> "DescriptorSets":
        """Bags of descriptors that Dask holds, for a fit."""
        bags = cls.__new__(cls)
        bags.values, bags.offsets = values, offsets  # type: ignore[assignment]
        return bags

    @classmethod
    def from_bags(cls, bags: ArrayLike) -> "DescriptorSets":
        """Create a set from an iterable of (n_i, d) bags, or from an array (n, m, d) or (n, h, w, d).

        Raises a ValueError that names the bag if a bag is not 2-D, not numeric, or has another number of features.
        """
        if isinstance(bags, DescriptorSets):
            return bags
        if bags is None:
            raise ValueError("bags is None, but must be arrays of descriptors of shape (n_i, d)")
        if isinstance(bags, torch.Tensor):
            bags = list(bags.unbind()) if bags.is_nested else dense_tensor(bags, "bags")
        if isinstance(bags, (np.ndarray, torch.Tensor)) and bags.dtype != object:
            if bags.ndim not in (3, 4):
                raise ValueError(
                    f"bags must be of shape (n, m, d) or (n, h, w, d), got an array of shape {tuple(bags.shape)}"
                )
            _check_numeric(bags, "bags")
            n, *cells, d = bags.shape
            m = int(np.prod(cells))
            return cls(bags.reshape(n * m, d), np.arange(n + 1, dtype=np.int64) * m)
        bags = [_as_bag(bag, i) for i, bag in enumerate(bags)]
        if not bags:
            raise ValueError("bags is empty, but must hold at least one array of descriptors of shape (n_i, d)")
        width = bags[0].shape[1]
        for i, bag in enumerate(bags):
            if bag.shape[1] != width:
                raise ValueError(
                    f"bag {i} has {bag.shape[1]} features, but bag 0 has {width}. Use the same extractor for all"
                )
        offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])])
        return cls(_join(bags), offsets)

    @classmethod
    def concatenate(cls, parts: Iterable[Any]) -> "DescriptorSets":
        """Concatenate the bags of several DescriptorSets, or of other input that `from_bags` accepts.

        Raises a ValueError if there are no parts, or if they differ in the number of features.
        """
        parts = [cls.from_bags(part) for part in parts]
        if not parts:
            raise ValueError("parts is empty, but must hold at least one DescriptorSets")
        widths = {part.values.shape[1] for part in parts}
        if len(widths) != 1:
            raise ValueError(f"all parts must have the same number of features, got {sorted(widths)}")
        starts = np.concatenate([[0], np.cumsum([len(part.values) for part in parts])])
        offsets = np.concatenate([[0], *(p.offsets[1:] + s for p, s in zip(parts, starts[:-1], strict=True))])
        return cls(_join([part.values for part in parts]), offsets)

    @property
    def sizes(self) -> np.ndarray:
        """Number of descriptors in each bag."""
        return np.diff(self.offsets)

    @property
    def shape(self) -> tuple[int, int | None, int]:
        """``(n, m, d)``; m is None if the bags differ in size."""
        sizes = self.sizes
        uniform = len(sizes) > 0 and (sizes == sizes[0]).all()
        return (len(sizes), int(sizes[0]) if uniform else None, self.values.shape[1])

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def dtype(self) -> np.dtype | torch.dtype:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def device(self) -> str | torch.device:
        """The device of the values."""
        return getattr(self.values, "device", "cpu")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[ArrayOrTensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # scikit-learn indexes arrays as X[rows, ...]
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(
                    f"bags are indexed by an integer, a slice, a mask or an array of integers, got {key!r}"
                )
            key = key[0]
        if isinstance(key, Integral) and not isinstance(key, (bool, np.bool_)):
            i = range(len(self))[key]
            return self.values[self.offsets[i] : self.offsets[i + 1]]
        if isinstance(key, slice) and key.step in (None, 1):
            first, last, _ = key.indices(len(self))
            return self._between(first, max(first, last))
        if isinstance(key, torch.Tensor):
            key = key.cpu().numpy()
        if isinstance(key, (list, tuple)) and len(key) == 0:
            key = np.empty(0, dtype=np.int64)
        index = np.arange(len(self))[key]
        rows, offsets = gather_bags(self.offsets, index)
        if isinstance(self.values, torch.Tensor):
            return DescriptorSets(self.values[torch.from_numpy(rows).to(self.values.device)], offsets)
        return DescriptorSets(np.take(self.values, rows, axis=0), offsets)

    def _between(self, first, last):
        start, stop = self.offsets[first], self.offsets[last]
        return DescriptorSets(self.values[start:stop], self.offsets[first : last + 1] - start)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DescriptorSets):
            return NotImplemented
        if not np.array_equal(self.offsets, other.offsets) or self.values.shape != other.values.shape:
            return False
        return bool((as_numpy(self.values) == as_numpy(other.values)).all())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        n, m, d = self.shape
        values = as_numpy(self.values)
        if m is not None or n == 0:
            array = values.reshape(n, m or 0, d)
            return np.array(array, dtype=dtype, copy=copy or None) if copy or dtype else array
        ragged = np.empty(n, dtype=object)
        ragged[:] = [values[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]
        return ragged

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """numpy's namespace, also for tensors, because scikit-learn indexes bags with numpy arrays."""
        return get_namespace(self.offsets)[0]

    def take(self, indices: ArrayLike, axis: int | None = 0, out: None = None, mode: str | None = None) -> Any:
        """The bags ``indices``; called by ``numpy.take``."""
        return self[indices]

    def __repr__(self) -> str:
        n, m, d = self.shape
        size = m if m is not None else f"{self.sizes.min(initial=len(self.values))}-{self.sizes.max(initial=0)}"
        return f"<DescriptorSets of {n} bags of {size} descriptors of {d} features, {self.dtype} on {self.device}>"

    def to(self, device: str | torch.device) -> "DescriptorSets":
        """The same bags with the values as a tensor on a torch device."""
        return DescriptorSets(as_tensor(self.values).to(device), self.offsets)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder with two ``.npy`` files, ``values.npy`` and ``offsets.npy``.

        An existing set is replaced atomically. Saving to the folder from which the values are memory-mapped is safe.

        Raises
        ------
        FileExistsError
            If the folder contains files of these names that are no complete set.
        """
        values = as_numpy(self.values)
        os.makedirs(path, exist_ok=True)
        _check_replaceable(path)
        # Two files cannot be replaced atomically. Therefore the offsets follow the values in the same file, where
        # `load` reads them (`np.load` reads only the first array of a file). The second file is for other programs.
        with replacing(os.path.join(path, "values.npy")) as file:
            np.save(file, values)
            np.save(file, self.offsets)
        with replacing(os.path.join(path, "offsets.npy")) as file:
            np.save(file, self.offsets)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap_mode: Literal["r", "r+", "c"] | None = "r") -> "DescriptorSets":
        """Read a set that `save` wrote; memory-mapped unless ``mmap_mode=None``.

        Raises
        ------
        FileNotFoundError
            If the folder or one of its files does not exist.
        ValueError
            If a file is truncated or damaged, or the offsets do not match the values.
        """
        if mmap_mode not in (None, "r", "r+", "c"):
            raise ValueError(f"mmap_mode must be 'r', 'r+', 'c' or None, got {mmap_mode!r}")
        name = os.path.join(path, "values.npy")
        with open(name, "r+b" if mmap_mode == "r+" else "rb") as file:
            values = _read_npy(file, name, mmap_mode)
            offsets = None if file.tell() == _size(file) else _read_npy(file, name, None)
        if offsets is None:  # written by sklinvariant 0.1
            name = os.path.join(path, "offsets.npy")
            with open(name, "rb") as file:
                offsets = _read_npy(file, name, None)
        try:
            return cls(values, offsets)
        except ValueError as error:
            raise ValueError(
                f"{path} contains no complete set of bags: {error}. Remove it and save the set again"
            ) from error

    def check_finite(self) -> Self:
        """Raise a ValueError that names the first bag with NaN or infinity; the values are read in chunks."""
        self.largest_value()
        return self

    def largest_value(self) -> float:
        """The largest absolute value as a float; raises the ValueError of `check_finite` for NaN or infinity."""
        largest = 0.0
        for start in range(0, len(self.values), _CHECKED_ROWS):
            part = as_tensor(self.values[start : start + _CHECKED_ROWS])
            part = dense_tensor(part, "values")
            here = largest_value(part)  # one pass; the position is only searched if needed
            if not np.isfinite(here):
                row = start + int((~torch.isfinite(part).all(dim=1)).nonzero()[0])
                bag = int(np.searchsorted(self.offsets, row, side="right")) - 1
                raise ValueError(f"bag {bag} contains NaN or infinity. Remove or impute these descriptors")
            largest = max(largest, here)
        return largest


def _check_replaceable(path):
    """Raise a FileExistsError if a folder contains a file that `save` would replace, but has not written."""
    if not any(os.path.lexists(os.path.join(path, name)) for name in ("values.npy", "offsets.npy")):
        return
    try:
        DescriptorSets.load(path)
    except (OSError, ValueError) as error:
        raise FileExistsError(
            f"{os.fspath(path)} contains values.npy or offsets.npy, but no complete set of bags. Other files are not "
            "replaced. Pass another folder, or remove these files."
        ) from error


def _read_npy(file: IO[bytes], name: str, mmap_mode: Literal["r", "r+", "c"] | None) -> np.ndarray:
    """Read or memory-map the next array of an open ``.npy`` file, and move the position behind it.

    The header is checked against the size of the file before memory is allocated.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, in_columns, dtype = read_header[version](file)
        is_sound = dtype.kind in "biuf" and len(shape) <= 2 and all(0 <= side < 1 << 40 for side in shape)
        length = math.prod(shape) * dtype.itemsize
    except Exception as error:  # numpy raises almost any error for damaged headers
        raise ValueError(f"{name} cannot be read as an array ({error}). Remove it and save the set again") from error
    start = file.tell()
    if not is_sound or start + length > _size(file):
        raise ValueError(
            f"{name} should hold {dtype} numbers of shape {shape}, but is incomplete or of another kind. "
            "Remove it and save the set again"
        )
    order: Literal["F", "C"] = "F" if in_columns else "C"
    if mmap_mode is None or length == 0:
        values = np.fromfile(file, dtype, math.prod(shape)).reshape(shape, order=order)
    else:
        values = np.memmap(file, dtype, mmap_mode, start, shape, order)
    file.seek(start + length)
    return values


def _size(file):
    return os.fstat(file.fileno()).st_size


def _join(arrays):
    """Concatenate arrays: a tensor if all are tensors, otherwise a numpy array."""
    if all(isinstance(array, torch.Tensor) for array in arrays):
        return torch.cat(arrays)
    return np.concatenate([as_numpy(array) for array in arrays])


def _as_bag(bag, i):
    if not isinstance(bag, (np.ndarray, torch.Tensor)):
        kind = type(bag).__name__
        try:
            bag = np.asarray(bag)
        except ValueError as error:
            raise ValueError(
                f"bag {i}, a {kind}, must be an array of shape (n_{i}, d), but lists in it differ in length. Pass "
                "lists of equal length"
            ) from error
        if bag.ndim != 2:
            raise ValueError(f"bag {i} must be of shape (n_{i}, d), got a {kind} of shape {bag.shape}")
    bag = dense_tensor(bag, f"bag {i}") if isinstance(bag, torch.Tensor) else bag
    if bag.ndim != 2:
        raise ValueError(f"bag {i} must be of shape (n_{i}, d), got {tuple(bag.shape)}")
    if bag.dtype == object:
        with contextlib.suppress(TypeError, ValueError):  # numbers stored as objects
            bag = bag.astype(np.float64)
    _check_numeric(bag, f"bag {i}")
    return bag


def _check_numeric(values, name):
    if isinstance(values, torch.Tensor):
        ok = not values.is_complex() and values.dtype != torch.bool
    else:
        ok = values.dtype.kind in "fiu"
    if not ok:
        raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}. Convert it to float32 or float64")
