"""Lossless conversion of arrays to tensors and back."""

from typing import Any

import numpy as np
import torch

from sklinvariant.ops import largest_value

ArrayLike = Any  # what users pass: an array of any library, a tensor, a data frame, nested lists
ArrayOrTensor = np.ndarray | torch.Tensor

EXACT_IN_FLOAT32 = 1 << 24  # float32 represents all integers up to this exactly
CHECK_ROWS = 1 << 16


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


def plain_tensor(X: torch.Tensor, name: str = "X") -> torch.Tensor:
    """Convert a tensor to a dense one with a dtype that torch computes with, or raise a TypeError.

    float8 becomes float32, unsigned types become wider signed types, and quantised tensors are dequantised.
    """
    if X.is_nested:
        raise TypeError(
            f"{name} is a nested tensor, but a dense one is required. Bags of unequal size are passed as a list: "
            "list(tensor.unbind())."
        )
    if X.is_meta:
        raise TypeError(f"{name} is a tensor on the meta device, which has no values. Pass a tensor with data.")
    if X.layout != torch.strided:
        raise TypeError(
            f"Sparse data was passed for {name} (layout {X.layout}), but dense data is required. Use '.to_dense()'."
        )
    if X.is_quantized:
        X = X.dequantize()
    if X.dtype in _CONVERTED:
        return X.detach().to(_CONVERTED[X.dtype])
    if X.dtype == getattr(torch, "uint64", None):
        return torch.from_numpy(_signed(X.detach().cpu().numpy())).to(X.device)
    if X.dtype not in _USUAL:
        raise TypeError(f"{name} has dtype {X.dtype}, which cannot be computed with. Convert it to torch.float32.")
    return X.resolve_conj().resolve_neg()


def exceeds_float32(values: ArrayOrTensor) -> bool:
    """Whether an array or tensor holds integers that float32 cannot represent exactly."""
    if isinstance(values, torch.Tensor):
        whole = not (values.is_floating_point() or values.is_complex())
    else:
        whole = values.dtype.kind in "iu"
    if not whole or values.dtype.itemsize < 4:
        return False
    parts = (as_tensor(values[i : i + CHECK_ROWS]) for i in range(0, len(values), CHECK_ROWS))
    return any(largest_value(part) > EXACT_IN_FLOAT32 for part in parts)


def as_numpy(values: ArrayLike) -> np.ndarray:
    """Convert a tensor on any device, or an array, to numpy; bfloat16 becomes float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = plain_tensor(values, "the tensor").detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def is_bags(X: ArrayLike) -> bool:
    """Whether X is a `DescriptorSets`."""
    return not isinstance(X, torch.Tensor) and hasattr(X, "offsets") and hasattr(X, "values")
