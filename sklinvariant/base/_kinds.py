"""Kinds of X that are not arrays, and columns of tables whose items are vectors."""

import inspect
import os
from typing import Any

import numpy as np
import torch

from sklinvariant.base._lazy_answers import is_lazy


def is_bags(X: Any) -> bool:
    """Whether X is a `DescriptorSets`."""
    is_other = isinstance(X, torch.Tensor) or _of_pyarrow(X)  # whose columns of lists have offsets and values as well
    return not is_other and hasattr(X, "offsets") and hasattr(X, "values")


def is_stream(X: Any) -> bool:
    """Whether X is an iterable of blocks but no array or list, such as a generator, or a generator function."""
    if inspect.isgeneratorfunction(X):
        return True
    is_indexed = any(hasattr(X, name) for name in ("__getitem__", "__array__", "shape"))
    return hasattr(X, "__iter__") and not is_indexed and not is_lazy(X)


def blocks_of_stream(X: Any) -> Any:
    """An iterator of the blocks of an iterable, or of the generator that a generator function makes."""
    return iter(X() if inspect.isgeneratorfunction(X) else X)


def name_of_stream(X: Any) -> str:
    """What an iterable is, for messages."""
    return "generator function" if inspect.isgeneratorfunction(X) else type(X).__name__


def without_columns(X: Any) -> Any:
    """Arrays of a column whose items are vectors, bags or images, as a list if they differ in size; otherwise X.

    Columns are those of pyarrow, polars, pandas and Hugging Face ``datasets``, also in a table of one column. Arrays of
    objects (n,) or (n, 1) are read like columns.
    """
    library = _library(X)
    if library in ("pandas", "polars") and len(getattr(X, "shape", ())) == 2 and X.shape[1] == 1:
        column = X.iloc[:, 0] if library == "pandas" else X.to_series()
        arrays = without_columns(column)
        return X if arrays is column else arrays
    if library == "datasets" and type(X).__name__ == "Column":
        return X[:]  # in the format of the data set
    if library == "polars" and _is_nested(X):
        X = X.to_arrow()
    if library in ("numpy", "pandas", "polars") and str(getattr(X, "dtype", "")).lower() == "object":
        items = list(np.ravel(X)) if X.shape[1:] in ((), (1,)) else []
        first = _first_filled(items)
        if _is_nested_list(first):
            arrays = _arrays_in(_all_lists(items))
            return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays
        if _is_vector(first):
            return _stacked(_all_lists(items))
        return items if _is_image(first) else X
    if not _of_pyarrow(X):
        return X
    if getattr(X, "num_columns", 0) == 1:
        column = X.column(0)
        return _arrays(column) if _is_list(column.type) else X
    return _arrays(X) if hasattr(X, "type") and _is_list(X.type) else X


def _library(X):
    return type(X).__module__.split(".")[0]


def _of_pyarrow(X):
    return _library(X) == "pyarrow"


def _is_nested(X):
    """Whether the items of a column of polars are lists or arrays."""
    return hasattr(X, "dtype") and X.dtype.is_nested() and hasattr(X.dtype, "inner")


def _first_filled(items):
    """The first item of a column that is neither None nor an empty list, or the first one if there is no other."""
    filled = (item for item in items if item is not None and not (_has_items(item) and len(item) == 0))
    return next(filled, items[0] if items else None)


def _is_vector(item):
    return isinstance(item, (list, tuple, np.ndarray)) and np.ndim(item) == 1 and np.asarray(item).dtype.kind in "fiub"


def _is_nested_list(item):
    """Whether an item of a column is a list of lists or arrays, or such an array of objects."""
    is_numeric = isinstance(item, np.ndarray) and item.dtype.kind != "O"
    return not is_numeric and _has_items(item) and len(item) > 0 and _has_items(item[0])


def _all_lists(items):
    """The items of a column, after a check that all of them are lists."""
    row = next((row for row, item in enumerate(items) if not _has_items(item)), None)
    if row is not None:
        raise ValueError(
            f"X is a column whose row {row} is {items[row]}, but others are lists. Remove rows without values"
        )
    return items


def _arrays_in(items):
    """The lists in each item of a column as one array. Empty items have rows like the others."""
    arrays = [_array_in(item, row) for row, item in enumerate(items)]
    shape = next(array.shape[1:] for array in arrays if len(array))
    return [array if len(array) else np.empty((0, *shape)) for array in arrays]


def _array_in(item, row):
    """The lists in an item of a column as one array."""
    try:
        return np.array(_without_objects(item))
    except ValueError as error:
        raise ValueError(
            f"X is a column whose row {row} holds lists of different lengths. Pass bags or images, whose rows are of "
            "equal length"
        ) from error


def _without_objects(item):
    """An array of objects as a list, also inside."""
    is_list = isinstance(item, np.ndarray) and item.dtype == object
    return [_without_objects(part) for part in item] if is_list else item


def _is_image(item):
    """Whether an item of a column is an array with at least two axes or an image of Pillow."""
    return getattr(item, "ndim", 0) > 1 or hasattr(item, "getbands")


def _is_list(kind):
    from pyarrow import types

    return types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)


def _arrays(column, *, inside=False):
    """The items of a column of (lists of) lists as one array (n, ...), or as a list of arrays of different lengths.

    With ``inside``, the column consists of the items of lists.
    """
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if column.null_count and inside:
        raise ValueError("X is a column of lists that contain null. Remove or fill these values")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"X is a column whose row {row} is null. Remove rows without values")
    if not _is_list(column.type):
        return column.to_numpy(zero_copy_only=False)
    items, lengths = _arrays(column.flatten(), inside=True), np.asarray(column.value_lengths())
    if isinstance(items, list):
        starts = np.cumsum(lengths) - lengths
        return [_matrix(items[i : i + n], row) for row, (i, n) in enumerate(zip(starts, lengths, strict=True))]
    if (lengths == lengths[:1]).all():
        length = int(lengths[0]) if len(lengths) else getattr(column.type, "list_size", 0)
        return items.reshape(len(lengths), length, *items.shape[1:])
    parts = np.split(items, np.cumsum(lengths)[:-1])
    return parts if items.ndim > 1 or inside else _stacked(parts)


def _matrix(arrays, row):
    """Arrays of an item of a column as one array."""
    for array in arrays:
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"X is a column whose row {row} holds lists of different lengths, {arrays[0].shape} and "
                f"{array.shape}. Pass bags or images, whose rows are of equal length"
            )
    return np.stack(arrays) if arrays else np.empty((0, 0))


def _stacked(vectors):
    """Vectors as one array (n, d)."""
    for i, vector in enumerate(vectors):
        if np.shape(vector) != np.shape(vectors[0]):
            raise ValueError(
                f"X is a column of vectors, but row {i} has the shape {np.shape(vector)} and row 0 has "
                f"{np.shape(vectors[0])}. Pass vectors of equal length"
            )
    return np.stack(vectors) if vectors else np.empty((0, 0))


def files_in(X: Any) -> list[str | bytes] | None:
    """File names or bytes of files, if X is made of them.

    X is a folder, which is then the only item, an object with ``samples`` of (file name, label) like ``ImageFolder`` of
    torchvision, a list, tuple, array or column of file names, of bytes, or of dicts with both, as Hugging Face stores
    images in tables.
    """
    if isinstance(X, torch.Tensor):
        return None
    if isinstance(X, (str, os.PathLike)):
        return [os.fspath(X)] if os.path.isdir(X) else None
    samples = getattr(X, "samples", None)
    if isinstance(samples, list) and samples and isinstance(samples[0], tuple):
        return [os.fspath(path) for path, _ in samples]
    items = _items(X)
    if not isinstance(items, (list, tuple)) or not len(items) or _source(items[0]) is None:
        return None
    sources = [_source(item) for item in items]
    return None if None in sources else [source for source in sources if source is not None]


def n_axes(X: Any) -> int:
    """Number of axes of an array, or of a list whose items other than None have as many as the first of them."""
    if isinstance(X, (list, tuple)):
        return 1 + n_axes(next((item for item in X if item is not None), 0))
    return X.ndim if hasattr(X, "ndim") else np.ndim(X)


def column_of_lists(X: Any) -> str | None:
    """The name of the first column of a table whose cells are lists or arrays; else None."""
    library, names = _library(X), []
    if library == "pyarrow" and hasattr(X, "schema"):
        names = [field.name for field in X.schema if _is_list(field.type)]
    elif library == "polars" and hasattr(X, "columns"):
        names = [column.name for column in X.iter_columns() if _is_nested(column)]
    elif library == "pandas" and hasattr(X, "columns"):
        names = [name for name, column in X.items() if _has_items(_first_filled(list(column)))]
    return next(iter(names), None)


def text_in(X: Any) -> str | None:
    """A file name or other text in the first row of X, such as one of several columns of a table; else None.

    Texts that are numbers do not count, because scikit-learn converts them.
    """
    if isinstance(X, (str, bytes, os.PathLike)):
        return os.fsdecode(X)
    if isinstance(X, np.ndarray) and X.ndim == 0:
        X = X[None]
    first = X.iloc[:1].to_numpy() if hasattr(X, "iloc") else X[:1] if _has_items(X) else []
    if isinstance(first, np.ndarray) and first.dtype.kind not in "OUT":
        return None
    row = first[0] if len(first) and _has_items(first[0]) else first
    texts = [str(os.fspath(item)) for item in row if isinstance(item, (str, os.PathLike))]
    return next((text for text in texts if not _is_number(text)), None)


def _has_items(X):
    return isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim > 0)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _source(item):
    if isinstance(item, dict) and item.keys() <= {"bytes", "path"}:
        item = item.get("bytes") or item.get("path")
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    return os.fspath(item) if isinstance(item, (str, os.PathLike)) else None


def _items(X):
    """The items of a column, also of one in a table of one column, or of an array of objects; else X."""
    if getattr(X, "num_columns", 0) == 1:  # of pyarrow
        X = X.column(0)
    elif len(getattr(X, "shape", ())) == 2 and X.shape[1] == 1 and hasattr(X, "columns"):
        X = X[X.columns[0]]
    if hasattr(X, "to_pylist"):
        return X.to_pylist() if _is_text(getattr(X, "type", None)) else X
    if hasattr(X, "to_list") and len(getattr(X, "shape", ())) == 1:
        return X.to_list() if _is_text(X.dtype) else X
    if isinstance(X, np.ndarray) and X.shape[1:] in ((), (1,)) and X.dtype.kind in "UOT":
        return X.ravel().tolist()
    return X


def _is_text(kind):
    """Whether the type of a column may be that of names, bytes or dicts."""
    return any(word in str(kind).lower() for word in ("str", "binary", "object", "categor"))
