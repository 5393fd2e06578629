"""Readers, which check X once and return it as an `Input`.

An estimator composes a reader as its class attribute ``_reader``. Its methods begin with ``given = self._read(X)`` and
end with ``return given.answer(...)``. No other code of an estimator accesses X.
"""

import math
import os
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from sklinvariant._compat import array_namespace, dispatches_arrays
from sklinvariant._distributed import processes_of_fit
from sklinvariant._settings import detached
from sklinvariant.base._block_input import read_dask, read_stream
from sklinvariant.base._device import resolve_device
from sklinvariant.base._kinds import (
    column_of_lists,
    files_in,
    is_bags,
    is_stream,
    n_axes,
    name_of_stream,
    text_in,
    without_columns,
)
from sklinvariant.base._lazy_answers import is_lazy
from sklinvariant.base._shard_rows import read_shard
from sklinvariant.base._tensors import (
    ArrayLike,
    as_numbers,
    as_tensor,
    dense_tensor,
    precision_of,
    to_numpy,
)
from sklinvariant.ops import check_reach, largest_value


class ArrayKind:
    """The kind and device of an array, or of the first array of a list, to return results as the same kind."""

    def __init__(self, values: ArrayLike) -> None:
        values = values[0] if isinstance(values, (list, tuple)) and values else values
        self.tensor_device = values.device if isinstance(values, torch.Tensor) else None
        self.namespace = None if self.tensor_device is not None else array_namespace(values)
        self.device = getattr(values, "device", None)

    @property
    def name(self) -> str:
        """Name of the array namespace, such as "numpy" or "torch"."""
        return "torch" if self.tensor_device is not None else getattr(self.namespace, "__name__", "numpy")

    def wrap(self, result: np.ndarray | torch.Tensor) -> ArrayLike:
        """Convert a tensor or numpy array to the kind and device of the input."""
        if self.tensor_device is not None:
            return as_tensor(result).to(self.tensor_device)
        if isinstance(result, torch.Tensor):
            result = result.detach().cpu().numpy()
        if self.namespace is not None:
            return self.namespace.asarray(result, device=self.device)
        return result


@dataclass
class Input:
    """The checked content of X.

    Attributes
    ----------
    data : tensor, list of tensors or DescriptorSets
        The checked data, in the memory, on the device and in the dtype of X if possible, also if X is memory-mapped.
    kind : ArrayKind
        The kind of array in which answers are returned.
    device : torch.device
        The device for computations.
    dtype : torch.dtype
        The precision of computations: float64 for float64 and for large integers, otherwise float32.
    in_pairs : bool
        Whether X contains pairs (n, 2, ...). The data are then samples (2 n, ...), in which the two samples of a pair
        follow each other.
    """

    data: Any
    kind: ArrayKind
    device: torch.device
    dtype: torch.dtype
    in_pairs: bool = False

    def tensor(self) -> torch.Tensor:
        """All data as one tensor, on the device and in the precision of computations."""
        return self.data.to(self.device, self.dtype).contiguous()

    def answer(self, result: np.ndarray | torch.Tensor) -> ArrayLike:
        """Convert a result to the kind and device of X."""
        return self.kind.wrap(result)


class Reader:
    """Base of the readers, small objects without fitted state. A subclass implements ``_check``."""

    needs = "rows of features"  # the required input, named in error messages
    three_d_array = False  # whether X may have three axes, for scikit-learn's tags
    takes_bags = False
    takes_files = False

    def read(self, estimator: Any, X: ArrayLike, *, reset: bool = False) -> Input:
        """Check X and return it as an `Input`. ``reset`` (a new fit) sets ``n_features_in_`` and similar attributes."""
        if is_lazy(X):
            given, rows, sizes = read_dask(self, estimator, X, reset)
            return replace(given, data=self._with_sizes(rows, sizes), kind=ArrayKind(np.empty(0)))
        processes = processes_of_fit(estimator)
        if processes is not None:
            return read_shard(self, estimator, X, processes, reset)
        sources = files_in(X) if self.takes_files else None
        if sources is not None:
            return self._check(estimator, self.opened(sources), ArrayKind(np.empty(0)), reset)
        X = without_columns(X)
        self.refuse_others(type(estimator).__name__, X)
        return self._check(estimator, X, self.kind_of(X), reset)

    def accepted(self, name: str, X: ArrayLike) -> ArrayLike:
        """X, or what is in the files or arrays if X has their names or bytes, or is a column of arrays.

        Raises the errors of `refuse_others`.
        """
        sources = files_in(X) if self.takes_files else None
        if sources is not None:
            return self.opened(sources)
        X = without_columns(X)
        self.refuse_others(name, X)
        return X

    def opened(self, sources: list[str | bytes]) -> Any:
        """What is in files, of which X has the names or the bytes, if ``takes_files``."""
        raise NotImplementedError

    def _rows(self, data):
        """The rows of the data of an `Input`, and the sizes of bags or None."""
        return data, None

    def _with_sizes(self, rows, sizes):
        """The data of an `Input` from `DaskRows` and the sizes of the bags of each block."""
        return rows

    def kind_of(self, X: ArrayLike) -> ArrayKind:
        """The kind of array in which answers are returned."""
        return ArrayKind(X.values if is_bags(X) else X)

    def _check(self, estimator, X, kind, reset):
        """The `Input` of X."""
        raise NotImplementedError

    def refuse_others(self, name: str, X: ArrayLike) -> None:
        """Raise a ValueError if X is None or of a kind that this reader does not accept; ``name`` is the estimator."""
        if is_stream(X):
            ways = "a list of images, or " * self.takes_files + "its blocks one by one"
            raise ValueError(
                f"X is an iterable, a {name_of_stream(X)}, but {name} needs {self.needs} here. Pass {ways}"
            )
        refuse_non_numbers(name, X, self.needs, takes_files=self.takes_files, in_rows=True)
        if is_bags(X) and not self.takes_bags:
            raise ValueError(
                f"X is a DescriptorSets, bags of local descriptors, but {name} needs {self.needs}. "
                "Aggregate the bags first, for instance with BagOfWords or VLAD"
            )


def refuse_stream_in_fit(estimator: Any, X: ArrayLike, *other_ways: str) -> NoReturn:
    """Raise the ValueError for X that is an iterable of blocks, if ``fit`` needs all samples at once."""
    reader = estimator._reader
    ways = ["a list of images, such as list(X)"] * reader.takes_files
    ways += ["a memory-mapped array, such as np.load(file, mmap_mode='r')"]
    ways += ["DescriptorSets of one"] * reader.takes_bags
    ways += ["its blocks one by one to partial_fit"] * hasattr(estimator, "partial_fit")
    raise ValueError(
        f"X is an iterable, a {name_of_stream(X)}, but {type(estimator).__name__}.fit needs {reader.needs} that it can "
        f"read several times and in any order. Pass {', or '.join([*ways, *other_ways])}"
    )


def refuse_stream_in_both(estimator: Any, X: ArrayLike, method: str) -> NoReturn:
    """Raise the ValueError for X that is an iterable of blocks in ``fit_transform`` or ``fit_predict``."""
    if not estimator._fits_streams:
        refuse_stream_in_fit(estimator, X)
    name, answers = type(estimator).__name__, method.removeprefix("fit_")
    raise ValueError(
        f"X is an iterable, a {name_of_stream(X)}, but {name}.{method} needs samples that it can read twice. Call fit "
        f"with it, and then {answers} with an array or with one block after the other"
    )


def refuse_none(name: str, X: ArrayLike, needs: str) -> None:
    """Raise a ValueError if X is None, or a list of nothing else."""
    if X is None:
        raise ValueError(f"X is None, but {name} needs {needs}. Pass an array")
    if isinstance(X, (list, tuple)) and X and all(item is None for item in X):
        raise ValueError(
            f"X is a list in which every item is None, but {name} needs {needs}. If the items were read from files, "
            "check the paths"
        )


def refuse_non_numbers(
    name: str, X: ArrayLike, needs: str, *, takes_files: bool = False, in_rows: bool = False
) -> None:
    """Raise a ValueError for None, text (inside rows only if ``in_rows``), dates, and tensors without data."""
    refuse_none(name, X, needs)
    if isinstance(X, (bytes, bytearray)):
        files = "Pass a list of files" if takes_files else "Decode it first"
        raise ValueError(f"X is a bytes object of {len(X)} bytes, but {name} needs {needs}. {files}")
    names = files_in(X)
    text = names[0] if names else text_in(X) if in_rows or isinstance(X, (str, os.PathLike)) else None
    if text is not None:
        files = "Pass a list of names of image files and nothing else, or the name of an existing folder"
        if not takes_files:
            files = "If these are file names, read the files first. Estimators of images accept names of image files"
        where = _column_of(text, X)
        if where:
            files = "Select the columns of numbers" + takes_files * ", or the column of file names"
        raise ValueError(f"{where}X holds text, such as {text!r:.200}, but {name} needs {needs}. {files}")
    if getattr(getattr(X, "dtype", None), "kind", None) in ("M", "m"):
        raise ValueError(f"X holds dates or times, dtype {X.dtype}, but {name} needs {needs}. Convert them to numbers")
    if isinstance(X, (list, tuple)) and len(X) and isinstance(X[0], torch.Tensor) and X[0].is_meta:
        raise ValueError(
            f"X holds tensors on the meta device, which have no values, but {name} needs {needs}. "
            "Pass tensors with data"
        )


def _column_of(text, X):
    """The words "column ... of " if the text is in the first row of a table of pandas."""
    if not hasattr(X, "iloc") or not hasattr(X, "columns"):
        return ""
    names = [name for name, item in zip(X.columns, X.iloc[0], strict=True) if str(item) == text]
    return f"column {names[0]!r} of " if names else ""


def computing_device(estimator: Any, kind: ArrayKind) -> torch.device:
    """The device for computations: that of the data if the estimator has no parameter ``device``."""
    own = kind.tensor_device
    return resolve_device(getattr(estimator, "device", own or "cpu"), own)


class RowReader(Reader):
    """Reads rows (n, n_features) of finite numbers; feature maps (n, h, w, k) are flattened to rows of h·w·k values.

    Values that are too large for computations raise an error, and in fit also values that are all too small. ``wide``
    is for methods that compute squares only in units of their own.
    """

    def __init__(self, *, wide: bool = False) -> None:
        self.wide = wide

    def _check(self, estimator, X, kind, reset):
        if isinstance(X, torch.Tensor):
            X = detached(dense_tensor(X))
        if getattr(X, "ndim", 2) == 4 and len(X):
            X = X.reshape(len(X), -1)
        if isinstance(X, torch.Tensor):
            rows = _check_tensor(estimator, X, reset)
        else:
            if kind.namespace is not None or isinstance(X, (list, tuple)):
                X = to_numpy(X)
            rows = _check_array(estimator, X, reset, self.needs)
        largest = largest_value(rows)  # replaces scikit-learn's search for NaN: one pass gives both
        if not math.isfinite(largest):
            _raise_not_finite(estimator, X)
        dtype = precision_of(rows, largest)
        self._check_reach(largest, dtype, reset)
        return Input(rows, kind, computing_device(estimator, kind), dtype)

    def _check_reach(self, largest, dtype, reset):
        check_reach(largest, dtype, "X", fitting=reset, wide=self.wide)


def _check_array(estimator, X, reset, needs):
    try:
        rows = validate_data(estimator, X, reset=reset, ensure_min_features=1, ensure_all_finite=False)
        return as_tensor(rows if rows.dtype.kind != "O" else rows.astype(np.float64))
    except ValueError as error:
        if "setting an array element with a sequence" in str(error):  # numpy's message
            _refuse_lists(type(estimator).__name__, X, needs)
        raise


def _refuse_lists(name, X, needs):
    """Raise the ValueError for lists of different lengths, and for tables with lists in their cells."""
    column = column_of_lists(X)
    if column is None:
        raise ValueError(f"X holds lists of different lengths, but {name} needs {needs}. Pass rows of equal length")
    raise ValueError(
        f"column {column!r} of X holds lists, but {name} needs {needs}. Select the columns of numbers, or pass this "
        "column alone"
    )


def _check_tensor(estimator, X, reset):
    """The checks of scikit-learn's ``validate_data``, which does not take tensors."""
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got a tensor of shape {tuple(X.shape)} instead. Reshape your data.")
    if X.is_complex():
        raise ValueError("Complex data not supported")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(
            f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s); a minimum of 1 is required"
        )
    if reset:
        set_n_features(estimator, X.shape[1])
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} "
            "features as input"
        )
    return X


def _raise_not_finite(estimator: Any, X: ArrayLike) -> NoReturn:
    if not isinstance(X, torch.Tensor):
        validate_data(estimator, X, reset=False, ensure_min_features=1)  # raises an error with the details
    raise ValueError("Input X contains NaN or infinity. Remove or impute these values")


def set_n_features(estimator: Any, n_features: int) -> None:
    """Set ``n_features_in_`` of input whose features have no names."""
    estimator.n_features_in_ = n_features
    estimator.__dict__.pop("feature_names_in_", None)


class FrameReader(Reader):
    """Reads frames as another reader reads samples, or pairs of them (n_pairs, 2, ...).

    Frames are samples in temporal order, from which the estimator forms pairs within each clip. X holds explicit pairs
    if it has three axes, or always if ``explicit`` is set.
    """

    three_d_array = True

    def __init__(self, samples: Reader, *, explicit: bool = False) -> None:
        self.samples, self.explicit = samples, explicit
        self.needs = samples.needs
        self.takes_files = samples.takes_files

    def opened(self, sources: list[str | bytes]) -> Any:
        """The samples in files."""
        return self.samples.opened(sources)

    def _check(self, estimator, X, kind, reset):
        if not self.explicit and _n_axes(X) != 3:
            return self.samples._check(estimator, X, kind, reset)
        return replace(self.samples._check(estimator, _one_after_the_other(X), kind, reset), in_pairs=True)


def _n_axes(X):
    return n_axes(X) if isinstance(X, (list, tuple)) else getattr(X, "ndim", 2)


def _one_after_the_other(X):
    """Pairs (n, 2, ...) as samples (2 n, ...)."""
    try:
        X = dense_tensor(X) if isinstance(X, torch.Tensor) else np.asarray(to_numpy(X))
    except ValueError as error:
        raise ValueError(f"X must hold pairs of samples of equal shape: {error}") from error
    if X.ndim < 3 or X.shape[1] != 2:
        raise ValueError(f"pairs must be of shape (n, 2, ...), got {tuple(X.shape)}. Pass two samples for each pair")
    return X.reshape(-1, *X.shape[2:])


class OutputReader(Reader):
    """Reads the output of `transform` for `inverse_transform`: finite rows, or pairs of them if ``pairs`` is set."""

    def __init__(self, name: str, *, pairs: bool = False) -> None:
        self.needs, self.pairs = name, pairs

    def _check(self, estimator, X, kind, reset):
        width = estimator._n_features_out
        rows = as_numbers(X, self.needs)
        in_pairs = self.pairs and rows.ndim == 3 and rows.shape[1] == 2
        if not (rows.ndim == 2 or in_pairs) or rows.shape[-1] != width or len(rows) == 0:
            shape = f"(n, {width})" + (f" or (n_pairs, 2, {width})" if self.pairs else "")
            raise ValueError(f"{self.needs} must be of shape {shape}, got {tuple(rows.shape)}")
        if not math.isfinite(largest_value(rows)):
            raise ValueError(f"{self.needs} contain NaN or infinity")
        return Input(rows.reshape(-1, width), kind, computing_device(estimator, kind), rows.dtype, in_pairs)


class ReadsInput:
    """Base of the estimators that read X by a reader, ``_reader``."""

    _reader: Reader = RowReader()
    _state: dict[str, Any]
    n_features_in_: int

    def _read(self, X, *, reset=False):
        """The `Input` of X. Methods access X only here."""
        return self._reader.read(self, X, reset=reset)

    def _read_blocks(self, X, check=None):
        """The `Input` of each block of an iterable, see `read_stream`."""
        return read_stream(self, X, check)

    def _check_namespace(self, method, X):
        """With array-API dispatch, reject input of another namespace than in fit, as scikit-learn does."""
        if X is None or "namespace" not in self._state or not dispatches_arrays():
            return
        found = self._reader.kind_of(X).name
        if found != self._state["namespace"]:
            name = type(self).__name__
            raise ValueError(
                f"Inputs passed to {name}.{method}() must use the same namespace and the same device as those passed "
                f"to fit(): fitted with {self._state['namespace']}, got {found}. Move the data, or switch "
                "array_api_dispatch off."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.three_d_array = self._reader.three_d_array
        return tags
