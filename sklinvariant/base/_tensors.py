"""Lossless conversion of arrays to tensors and back."""

from typing import Any

import numpy as np
import torch

from sklinvariant._compat import array_namespace
from sklinvariant._settings import detached
from sklinvariant.ops import compute_dtype, largest_value

ArrayLike = Any  # what users pass: an array of any library, a tensor, a data frame, nested lists
ArrayOrTensor = np.ndarray | torch.Tensor

EXACT_IN_FLOAT32 = 1 << 24  # float32 represents all integers up to this exactly


def _dtypes(*names):
    """The dtypes with these names that the installed version of torch has."""
    return {getattr(torch, name) for name in names if hasattr(torch, name)}


_USUAL = _dtypes("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


_USUAL |= _dtypes("complex32", "complex64", "complex128")  # rejected later if numbers must be real


# torch supports little more than the conversion of these
FLOAT8 = _dtypes("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")


_CONVERTED = (
    dict.fromkeys(FLOAT8, torch.float32)
    | dict.fromkeys(_dtypes("uint16"), torch.int32)
    | dict.fromkeys(_dtypes("uint32"), torch.int64)
)


def as_tensor(values: ArrayOrTensor) -> torch.Tensor:
    """Convert a numpy array to a tensor that shares its memory if possible, also if the array is read-only."""
    if isinstance(values, torch.Tensor):
        return values
    strided = any(stride < 0 or stride % max(values.itemsize, 1) for stride in values.strides)
    if strided or not values.dtype.isnative:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if values.dtype.kind == "u" and values.itemsize > 1:
        values = _signed(values)
    if values.dtype == np.longdouble:  # not supported by torch
        values = values.astype(np.float64)
    # torch warns if an array is not writeable. The tensor is never written to, and a warning cannot be silenced for one
    # thread only.
    return torch.from_numpy(values if values.flags.writeable else np.asarray(_Writeable(values)))


class _Writeable:
    """Presents a read-only array to numpy as writeable."""

    def __init__(self, values: np.ndarray) -> None:
        address = values.__array_interface__["data"][0]
        self.__array_interface__ = values.__array_interface__ | {"data": (address, False)}
        self._values = values  # keeps the memory alive


def _signed(values: np.ndarray) -> np.ndarray:
    """Convert unsigned integers, which torch does not support, to a wider signed type or to float64."""
    if values.itemsize < 8:
        return values.astype(np.int32 if values.itemsize == 2 else np.int64)
    fits = values.size == 0 or values.max() <= np.iinfo(np.int64).max
    return values.astype(np.int64 if fits else np.float64)


def dense_tensor(X: torch.Tensor, name: str = "X") -> torch.Tensor:
    """Convert a tensor to a dense one with a dtype that torch computes with; ``name`` is its name in error messages.

    float8 becomes float32, unsigned types become wider signed types, and quantised tensors are dequantised.

    Raises
    ------
    TypeError
        For nested and sparse tensors, and for dtypes without arithmetic.
    ValueError
        For tensors on the meta device.
    """
    if X.is_nested:
        raise TypeError(f"{name} must be dense, got a nested tensor. Pass a list of tensors, list(tensor.unbind())")
    if X.layout != torch.strided:
        raise TypeError(f"{name} must be dense, got a sparse tensor of layout {X.layout}. Use {name}.to_dense()")
    if X.is_meta:
        raise ValueError(f"{name} is on the meta device, which has no values. Pass a tensor on a CPU or GPU")
    if X.is_quantized:
        X = X.dequantize()
    if X.dtype in _CONVERTED:
        return X.detach().to(_CONVERTED[X.dtype])
    if X.dtype == getattr(torch, "uint64", None):
        return torch.from_numpy(_signed(X.detach().cpu().numpy())).to(X.device)
    if X.dtype not in _USUAL:
        raise TypeError(f"{name} has dtype {X.dtype}, which cannot be computed with. Convert it to torch.float32.")
    return X.resolve_conj().resolve_neg()


def precision_of(values: torch.Tensor, largest: float) -> torch.dtype:
    """The dtype in which methods compute with values up to ``largest``.

    This is float64 for float64 and for integers that float32 cannot represent exactly, otherwise float32.
    """
    if not values.is_floating_point() and largest > EXACT_IN_FLOAT32:
        return torch.float64
    return compute_dtype(values.dtype)


def as_numbers(X: ArrayLike, name: str) -> torch.Tensor:
    """Convert an array of real numbers of any shape to a tensor in the precision of computations."""
    X = dense_tensor(X, name) if isinstance(X, torch.Tensor) else np.asarray(to_numpy(X))
    real = not X.is_complex() if isinstance(X, torch.Tensor) else X.dtype.kind in "fiub"
    if not real:
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}. Convert it to float32 or float64")
    X = detached(as_tensor(X))
    return X.to(precision_of(X, largest_value(X)))


def to_numpy(X: ArrayLike) -> Any:
    """Convert tensors, lists of them and arrays of array-API libraries to numpy; return other input unchanged."""
    if isinstance(X, torch.Tensor):
        return as_numpy(X)
    if isinstance(X, (list, tuple)) and X and all(isinstance(row, torch.Tensor) for row in X):
        return [as_numpy(row) for row in X]  # numpy itself reads neither bfloat16 nor float8
    if array_namespace(X) is not None:
        return np.from_dlpack(X)
    return X


def as_numpy(values: ArrayLike) -> np.ndarray:
    """Convert a tensor on any device, or an array, to numpy; bfloat16 becomes float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = dense_tensor(values, "the tensor").detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
