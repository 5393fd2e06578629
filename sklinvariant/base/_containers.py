"""What data comes in: lazy collections are computed, unusual tensors converted, and other kinds of data refused."""

import os

import numpy as np
import torch

from sklinvariant._settings import detached

_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
# torch cannot compare or sum these, int8 not with 255; a wider type holds every one of their values
_WIDER = {torch.int8: torch.int16, torch.uint16: torch.int32, torch.uint32: torch.int64}
_WIDER |= {dtype: torch.float32 for name, dtype in vars(torch).items() if name.startswith("float8_")}


def in_memory(X):
    """A Dask collection, or a list of them, computed; anything else as it is."""
    if hasattr(X, "__dask_graph__"):
        return X.compute() if X.__dask_graph__() is not None else X
    if isinstance(X, (list, tuple)) and len(X) and hasattr(X[0], "__dask_graph__"):
        return type(X)(map(in_memory, X))
    return X


def dense_tensor(X, name):
    """A tensor of images as a detached, dense one of a real dtype that torch computes with.

    ``name`` is what an error calls X.

    Raises
    ------
    TypeError
        For nested and sparse tensors.
    ValueError
        For tensors without numbers (on the meta device), complex ones, booleans and packed dtypes.
    """
    if X.is_nested:
        raise TypeError(f"{name} must be dense, got a nested tensor; give a list of tensors, X.unbind()")
    if X.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got a tensor of layout {X.layout}; use X.to_dense()")
    if X.is_meta:
        raise ValueError(f"{name} are a tensor on the meta device, which holds no numbers; give one on a CPU or GPU")
    if X.is_quantized:
        X = X.dequantize()
    X = detached(X).resolve_neg()
    if X.dtype == torch.uint64:
        X = _as_int64(X)
    X = X.to(_WIDER.get(X.dtype, X.dtype))
    if X.dtype not in _FLOATS | _WHOLE:
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}")
    return X


def _as_int64(X):
    """uint64, which torch cannot convert either; what int64 cannot hold is refused as a pixel anyway."""
    values = np.minimum(X.cpu().numpy(), np.iinfo(np.int64).max)
    return torch.from_numpy(values.astype(np.int64)).to(X.device)


def file_names(X):
    """The names of a list, tuple, array or column of files; None where X is something else."""
    if hasattr(X, "to_numpy") and len(getattr(X, "shape", "?")) == 1:  # a column; those of pyarrow have no shape
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind in "UOT":
        X = X.tolist()
    if isinstance(X, (list, tuple)) and len(X) and all(isinstance(item, (str, os.PathLike)) for item in X):
        return [os.fspath(item) for item in X]
    return None


def refuse_non_numbers(estimator, X, needed):
    """Raise a ValueError for file names and other text, for dates, and for a list of tensors without numbers."""
    name = estimator if isinstance(estimator, str) else type(estimator).__name__
    names = [X] if isinstance(X, (str, bytes, os.PathLike)) else file_names(X)
    if names is not None:
        raise ValueError(
            f"X holds text, such as {names[0]!r}, but {name} needs {needed}. If these are file names, read the files "
            "first: only NestedInvariancePooler(image_size=...) takes names of images"
        )
    if getattr(getattr(X, "dtype", None), "kind", None) in ("M", "m"):
        raise ValueError(f"X holds dates or times, dtype {X.dtype}, but {name} needs {needed}. Convert them to numbers")
    if isinstance(X, (list, tuple)) and len(X) and isinstance(X[0], torch.Tensor) and X[0].is_meta:
        raise ValueError(f"X holds tensors on the meta device, which have no numbers, but {name} needs {needed}")
