"""Kinds of input data: compute lazy collections, convert unusual tensors, and reject other kinds of data."""

import os
from typing import Any

import numpy as np
import torch

from sklinvariant._settings import detached
from sklinvariant.base._tensors import ArrayLike

_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
# torch cannot compare or sum these (int8 cannot be compared with 255); the wider type represents all of their values
_WIDER = {torch.int8: torch.int16, torch.uint16: torch.int32, torch.uint32: torch.int64}
_WIDER |= {dtype: torch.float32 for name, dtype in vars(torch).items() if name.startswith("float8_")}


def in_memory(X: ArrayLike) -> ArrayLike:
    """Compute a Dask collection or a list of them; return anything else unchanged."""
    if hasattr(X, "__dask_graph__"):
        return X.compute() if X.__dask_graph__() is not None else X
    if isinstance(X, (list, tuple)) and len(X) and hasattr(X[0], "__dask_graph__"):
        return type(X)(map(in_memory, X))
    return X


def dense_tensor(X: torch.Tensor, name: str) -> torch.Tensor:
    """Convert a tensor of images to a detached dense tensor with a real dtype that torch computes with.

    ``name`` is the name of X in error messages.

    Raises
    ------
    TypeError
        For nested and sparse tensors.
    ValueError
        For tensors on the meta device, which have no values, and for complex, boolean and packed dtypes.
    """
    if X.is_nested:
        raise TypeError(f"{name} must be dense, got a nested tensor. Pass a list of tensors, X.unbind()")
    if X.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got a tensor of layout {X.layout}. Use X.to_dense()")
    if X.is_meta:
        raise ValueError(f"{name} are a tensor on the meta device, which has no values. Pass a tensor on a CPU or GPU")
    if X.is_quantized:
        X = X.dequantize()
    X = detached(X).resolve_neg()
    if X.dtype == torch.uint64:
        X = _as_int64(X)
    X = X.to(_WIDER.get(X.dtype, X.dtype))
    if X.dtype not in _FLOATS | _WHOLE:
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}. Convert it to uint8 or float32")
    return X


def _as_int64(X):
    """Convert uint64, which torch cannot do; values beyond int64 are clipped and rejected as pixels later."""
    values = np.minimum(X.cpu().numpy(), np.iinfo(np.int64).max)
    return torch.from_numpy(values.astype(np.int64)).to(X.device)


def file_names(X: ArrayLike) -> list[str] | None:
    """The file names if X is a list, tuple, array or column of file names, otherwise None."""
    if hasattr(X, "to_numpy") and len(getattr(X, "shape", "?")) == 1:  # a column; pyarrow's have no shape
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind in "UOT":
        X = X.tolist()
    if isinstance(X, (list, tuple)) and len(X) and all(isinstance(item, (str, os.PathLike)) for item in X):
        return [os.fspath(item) for item in X]
    return None


def refuse_non_numbers(estimator: Any, X: ArrayLike, needed: str) -> None:
    """Raise a ValueError for file names and other text, for dates, and for lists of tensors on the meta device."""
    name = estimator if isinstance(estimator, str) else type(estimator).__name__
    names = [X] if isinstance(X, (str, bytes, os.PathLike)) else file_names(X)
    if names is not None:
        raise ValueError(
            f"X holds text, such as {names[0]!r}, but {name} needs {needed}. If these are file names, read the files "
            "first: only NestedInvariancePooler(image_size=...) accepts names of images"
        )
    if getattr(getattr(X, "dtype", None), "kind", None) in ("M", "m"):
        raise ValueError(f"X holds dates or times, dtype {X.dtype}, but {name} needs {needed}. Convert them to numbers")
    if isinstance(X, (list, tuple)) and len(X) and isinstance(X[0], torch.Tensor) and X[0].is_meta:
        raise ValueError(
            f"X holds tensors on the meta device, which have no values, but {name} needs {needed}. "
            "Pass tensors with data"
        )
