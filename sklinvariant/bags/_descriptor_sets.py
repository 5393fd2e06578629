"""DescriptorSets: bags of local descriptors of any size, as one array of values and the offsets of the bags."""

import contextlib
import math
import os
from numbers import Integral

import numpy as np
import torch

from sklinvariant._compat import get_namespace
from sklinvariant.base import CHECK_ROWS, FLOAT8, as_numpy, as_tensor, plain_tensor, replacing
from sklinvariant.ops import gather_bags, largest_value


class DescriptorSets:
    """A ragged array of bags: the descriptors of bag ``i`` are ``values[offsets[i]:offsets[i + 1]]``.

    It indexes, slices and splits like an array of bags, so ``train_test_split``, ``KFold`` and ``GridSearchCV``
    take it; a slice is a view and an index array copies the selected values once.

    Parameters
    ----------
    values : array or tensor of shape (N, d)
        All descriptors, bag after bag. Any numeric dtype; may be memory-mapped or sit on a GPU.
    offsets : array-like of shape (n + 1,)
        Where each bag starts; from 0 to N, never falling. Equal neighbours are an empty bag.

    Attributes
    ----------
    values, offsets
        As given; the offsets as int64.
    sizes : ndarray of shape (n,)
        Descriptors in each bag.
    shape : tuple
        ``(n, m, d)``; m is None where the bags differ in size.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import DescriptorSets
    >>> bags = DescriptorSets.from_bags([np.zeros((3, 2)), np.ones((1, 2))])
    >>> bags.shape, len(bags[1:]), bags[1]
    ((2, None, 2), 1, array([[1., 1.]]))
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values, offsets):
        if not isinstance(values, (np.ndarray, torch.Tensor)):
            values = np.asarray(values)
        if isinstance(values, torch.Tensor) and values.dtype not in FLOAT8:  # which are converted when they are read
            values = plain_tensor(values, "values")
        if values.ndim != 2:
            raise ValueError(f"values must be of shape (N, d), got {tuple(values.shape)}")
        _check_numeric(values, "values")
        offsets = np.asarray(offsets.cpu() if isinstance(offsets, torch.Tensor) else offsets)
        if offsets.ndim != 1 or len(offsets) == 0 or not np.issubdtype(offsets.dtype, np.integer):
            raise ValueError("offsets must be whole numbers of shape (n + 1,)")
        offsets = offsets.astype(np.int64, copy=False)
        if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
            raise ValueError(f"offsets must rise from 0 to the number of descriptors, {len(values)}")
        self.values = values
        self.offsets = offsets

    @classmethod
    def from_bags(cls, bags):
        """From a list, an object array or an iterable of (n_i, d) bags, or an array (n, m, d) or (n, h, w, d).

        Raises ValueError, naming the bag, where one is not 2-D, not numeric, or of another number of features.
        """
        if isinstance(bags, DescriptorSets):
            return bags
        if bags is None:
            raise ValueError("no bags: got None, expected arrays of descriptors of shape (n_i, d)")
        if isinstance(bags, torch.Tensor):
            bags = list(bags.unbind()) if bags.is_nested else plain_tensor(bags, "bags")
        if isinstance(bags, (np.ndarray, torch.Tensor)) and bags.dtype != object:
            if bags.ndim not in (3, 4):
                raise ValueError(
                    f"expected bags of shape (n, m, d) or (n, h, w, d), got an array of shape {tuple(bags.shape)}"
                )
            _check_numeric(bags, "bags")
            n, *cells, d = bags.shape
            m = int(np.prod(cells))
            return cls(bags.reshape(n * m, d), np.arange(n + 1, dtype=np.int64) * m)
        bags = [_as_bag(bag, i) for i, bag in enumerate(bags)]
        if not bags:
            raise ValueError("no bags: expected at least one array of descriptors of shape (n_i, d)")
        width = bags[0].shape[1]
        for i, bag in enumerate(bags):
            if bag.shape[1] != width:
                raise ValueError(f"bag {i} has {bag.shape[1]} features, but bag 0 has {width}")
        offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])])
        return cls(_join(bags), offsets)

    @classmethod
    def concatenate(cls, parts):
        """The bags of several DescriptorSets (or what `from_bags` takes), one after another.

        Raises ValueError where there are none, or where they differ in the number of features.
        """
        parts = [cls.from_bags(part) for part in parts]
        if not parts:
            raise ValueError("nothing to concatenate: expected at least one DescriptorSets")
        widths = {part.values.shape[1] for part in parts}
        if len(widths) != 1:
            raise ValueError(f"all parts must have the same number of features, got {sorted(widths)}")
        starts = np.concatenate([[0], np.cumsum([len(part.values) for part in parts])])
        offsets = np.concatenate([[0], *(p.offsets[1:] + s for p, s in zip(parts, starts[:-1], strict=True))])
        return cls(_join([part.values for part in parts]), offsets)

    @property
    def sizes(self):
        return np.diff(self.offsets)

    @property
    def shape(self):
        sizes = self.sizes
        uniform = len(sizes) > 0 and (sizes == sizes[0]).all()
        return (len(sizes), int(sizes[0]) if uniform else None, self.values.shape[1])

    @property
    def ndim(self):
        return 3

    @property
    def dtype(self):
        return self.values.dtype

    @property
    def device(self):
        return getattr(self.values, "device", "cpu")

    def __len__(self):
        return len(self.offsets) - 1

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        if isinstance(key, tuple):  # scikit-learn indexes arrays as X[rows, ...]
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError("bags take one index: an integer, a slice, a mask or an array of integers")
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

    def __eq__(self, other):
        if not isinstance(other, DescriptorSets):
            return NotImplemented
        if not np.array_equal(self.offsets, other.offsets) or self.values.shape != other.values.shape:
            return False
        return bool((as_numpy(self.values) == as_numpy(other.values)).all())

    def __array__(self, dtype=None, copy=None):
        n, m, d = self.shape
        values = as_numpy(self.values)
        if m is not None or n == 0:
            array = values.reshape(n, m or 0, d)
            return np.array(array, dtype=dtype, copy=copy or None) if copy or dtype else array
        array = np.empty(n, dtype=object)
        array[:] = [values[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]
        return array

    def __array_namespace__(self, *, api_version=None):
        """numpy's, whatever holds the values: that is what scikit-learn indexes bags with."""
        return get_namespace(self.offsets)[0]

    def take(self, indices, axis=0, out=None, mode=None):
        """The bags ``indices``; what ``numpy.take`` calls."""
        return self[indices]

    def __repr__(self):
        n, m, d = self.shape
        size = m if m is not None else f"{self.sizes.min(initial=len(self.values))}-{self.sizes.max(initial=0)}"
        return f"<DescriptorSets of {n} bags of {size} descriptors of {d} features, {self.dtype} on {self.device}>"

    def to(self, device):
        """The same bags with their values as a tensor on a torch device."""
        return DescriptorSets(as_tensor(self.values).to(device), self.offsets)

    def save(self, path):
        """Write a folder of two plain ``.npy`` files, ``values.npy`` and ``offsets.npy``.

        A set that was saved there before is replaced as a whole or not at all. Saving onto the folder that the values
        are mapped from is safe.
        """
        values = as_numpy(self.values)
        os.makedirs(path, exist_ok=True)
        # Two files cannot be replaced at once. The offsets therefore stand behind the values in one file (`np.load`
        # reads the first array of a file), and `load` reads them there. The other file is for readers other than us.
        with replacing(os.path.join(path, "values.npy")) as file:
            np.save(file, values)
            np.save(file, self.offsets)
        with replacing(os.path.join(path, "offsets.npy")) as file:
            np.save(file, self.offsets)

    @classmethod
    def load(cls, path, *, mmap_mode="r"):
        """Read what `save` wrote; memory-mapped unless ``mmap_mode=None``.

        Raises
        ------
        FileNotFoundError
            Where there is no such folder, or it lacks the files.
        ValueError
            Where a file is truncated or damaged, or the offsets do not fit the values.
        """
        if mmap_mode not in (None, "r", "r+", "c"):
            raise ValueError(f"mmap_mode must be 'r', 'r+', 'c' or None, got {mmap_mode!r}")
        name = os.path.join(path, "values.npy")
        with open(name, "r+b" if mmap_mode == "r+" else "rb") as file:
            values = _read_npy(file, name, mmap_mode)
            offsets = None if file.tell() == _size(file) else _read_npy(file, name, None)
        if offsets is None:  # as sklinvariant 0.1 wrote it
            name = os.path.join(path, "offsets.npy")
            with open(name, "rb") as file:
                offsets = _read_npy(file, name, None)
        try:
            return cls(values, offsets)
        except ValueError as error:
            raise ValueError(f"{path} holds no whole set of bags: {error}. Save it again") from error

    def check_finite(self):
        """Raise a ValueError that names the first bag with a NaN or an infinity; reads a chunk at a time."""
        self.largest_value()
        return self

    def largest_value(self):
        """The largest absolute value, as a float; a ValueError, as `check_finite` raises, where there is none."""
        largest = 0.0
        for start in range(0, len(self.values), CHECK_ROWS):
            part = as_tensor(self.values[start : start + CHECK_ROWS])
            part = plain_tensor(part, "values")
            here = largest_value(part)  # one pass; only a value that is not finite is looked into
            if not np.isfinite(here):
                row = start + int((~torch.isfinite(part).all(dim=1)).nonzero()[0])
                bag = int(np.searchsorted(self.offsets, row, side="right")) - 1
                raise ValueError(f"bag {bag} contains NaN or infinity; remove or impute its descriptors")
            largest = max(largest, here)
        return largest


def _read_npy(file, name, mmap_mode):
    """The array of numbers that an open ``.npy`` file goes on with, mapped or read; leaves the file behind it.

    The header is checked against the size of the file before any memory is taken.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, in_columns, dtype = read_header[version](file)
        is_sound = dtype.kind in "biuf" and len(shape) <= 2 and all(0 <= side < 1 << 40 for side in shape)
        length = math.prod(shape) * dtype.itemsize
    except Exception as error:  # numpy's reader of headers raises nearly everything on damaged ones
        raise ValueError(f"{name} cannot be read as an array ({error}). Save the set again") from error
    start = file.tell()
    if not is_sound or start + length > _size(file):
        raise ValueError(
            f"{name} should hold {dtype} numbers of shape {shape}, but is not a whole file of such. Save the set again"
        )
    order = "F" if in_columns else "C"
    if mmap_mode is None or length == 0:
        values = np.fromfile(file, dtype, math.prod(shape)).reshape(shape, order=order)
    else:
        values = np.memmap(file, dtype, mmap_mode, start, shape, order)
    file.seek(start + length)
    return values


def _size(file):
    return os.fstat(file.fileno()).st_size


def _join(arrays):
    """One array after another: a tensor where all are tensors, else numpy."""
    if all(isinstance(array, torch.Tensor) for array in arrays):
        return torch.cat(arrays)
    return np.concatenate([as_numpy(array) for array in arrays])


def _as_bag(bag, i):
    if not isinstance(bag, (np.ndarray, torch.Tensor)):
        kind = type(bag).__name__
        try:
            bag = np.asarray(bag)
        except ValueError as error:
            raise ValueError(f"bag {i}, a {kind}, is no array of shape (n_{i}, d): {error}") from error
        if bag.ndim != 2:
            raise ValueError(f"bag {i} must be of shape (n_{i}, d), got a {kind} of shape {bag.shape}")
    bag = plain_tensor(bag, f"bag {i}") if isinstance(bag, torch.Tensor) else bag
    if bag.ndim != 2:
        raise ValueError(f"bag {i} must be of shape (n_{i}, d), got {tuple(bag.shape)}")
    if bag.dtype == object:
        with contextlib.suppress(TypeError, ValueError):  # numbers that numpy was told to keep as objects
            bag = bag.astype(np.float64)
    _check_numeric(bag, f"bag {i}")
    return bag


def _check_numeric(values, name):
    if isinstance(values, torch.Tensor):
        ok = not values.is_complex() and values.dtype != torch.bool
    else:
        ok = values.dtype.kind in "fiu"
    if not ok:
        raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}")
