"""Arrays as tensors and back, without losing digits."""

import numpy as np
import torch

from sklinvariant.ops import largest_value

CHECK_ROWS = 1 << 16


EXACT_IN_FLOAT32 = 1 << 24  # whole numbers up to this


def _dtypes(*names):
    """Those of torch that this version has."""
    return {getattr(torch, name) for name in names if hasattr(torch, name)}


_USUAL = _dtypes("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


_USUAL |= _dtypes("complex32", "complex64", "complex128")  # which are refused where numbers have to be real


# for these torch has hardly any operation but the conversion
FLOAT8 = _dtypes("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")


_CONVERTED = (
    dict.fromkeys(FLOAT8, torch.float32)
    | dict.fromkeys(_dtypes("uint16"), torch.int32)
    | dict.fromkeys(_dtypes("uint32"), torch.int64)
)


def as_tensor(values):
    """A numpy array or tensor as a tensor that shares its memory, read-only arrays too."""
    if isinstance(values, torch.Tensor):
        return values
    strided = any(stride < 0 or stride % max(values.itemsize, 1) for stride in values.strides)
    if strided or not values.dtype.isnative:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if values.dtype.kind == "u" and values.itemsize > 1:
        values = _signed(values)
    if values.dtype == np.longdouble:  # which torch lacks
        values = values.astype(np.float64)
    # torch warns of arrays that it could write to; it is never written to here, and no thread can silence a warning
    # for itself alone
    return torch.from_numpy(values if values.flags.writeable else np.asarray(_Writeable(values)))


class _Writeable:
    """A read-only array as one that numpy takes for writeable."""

    def __init__(self, values):
        address = values.__array_interface__["data"][0]
        self.__array_interface__ = values.__array_interface__ | {"data": (address, False)}
        self._values = values  # which owns the memory


def _signed(values):
    """Unsigned numbers, of which torch cannot compute, in a signed type that holds them, or float64."""
    if values.itemsize < 8:
        return values.astype(np.int32 if values.itemsize == 2 else np.int64)
    fits = values.size == 0 or values.max() <= np.iinfo(np.int64).max
    return values.astype(np.int64 if fits else np.float64)


def plain_tensor(X, name="X"):
    """A dense tensor of a dtype that torch computes in; a TypeError in words where X cannot be had as one.

    float8 becomes float32, unsigned types become wider signed ones, and quantised tensors what they stand for.
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


def exceeds_float32(values):
    """Whether an array or tensor of whole numbers has some that float32 would round."""
    is_tensor = isinstance(values, torch.Tensor)
    whole = not (values.is_floating_point() or values.is_complex()) if is_tensor else values.dtype.kind in "iu"
    if not whole or values.dtype.itemsize < 4:
        return False
    parts = (as_tensor(values[i : i + CHECK_ROWS]) for i in range(0, len(values), CHECK_ROWS))
    return any(largest_value(part) > EXACT_IN_FLOAT32 for part in parts)


def as_numpy(values):
    """A tensor on any device, or an array, as numpy; bfloat16, which numpy lacks, as float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = plain_tensor(values, "the tensor").detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def is_bags(X):
    """Whether X is a ragged set of bags, `DescriptorSets`."""
    return hasattr(X, "offsets") and hasattr(X, "values")
