"""Handling of values whose squares and products leave the range of their dtype.

Methods that do not depend on the scale of the data divide it by a power of two near the largest value, which is exact.
At ordinary scales this unit is 1 and nothing is copied.
"""

import math

import torch

from sklinvariant._docstrings import documented_by
from sklinvariant.ops._chunks import chunk_rows

# Accepted range of the largest value. Sums must be representable in float32. In float64 squares must be representable
# too, because estimators report squares, such as errors, and no wider dtype exists.
_REACH = {torch.float32: (2.0**-110, 2.0**112), torch.float64: (2.0**-508, 2.0**508)}
_WIDE_REACH = {torch.float32: (2.0**-120, 2.0**125), torch.float64: (2.0**-960, 2.0**1010)}
_EXPONENTS = {
    torch.float32: 120,
    torch.float64: 1000,
}  # largest exponents of units, so that their inverse is normal


def largest_value(values: torch.Tensor) -> float:
    """Largest absolute value, found in one pass.

    Parameters
    ----------
    values : tensor
        Values of any shape.

    Returns
    -------
    float, NaN or infinity if the values contain one, and 0 for no values
    """
    if values.numel() == 0:
        return 0.0
    low, high = torch.aminmax(values.detach())
    return float(torch.maximum(high.double().abs(), low.double().abs()))


def power_of_two(value: float, dtype: torch.dtype = torch.float64) -> float:
    """A power of two near a value.

    Parameters
    ----------
    value : float
        The value. The result is 1 if it is 0.
    dtype : torch.dtype, default=torch.float64
        Type that represents the result and its inverse without loss.

    Returns
    -------
    float
    """
    if not value > 0:
        return 1.0
    bound = _EXPONENTS[dtype]
    return 2.0 ** min(max(math.frexp(value)[1], -bound), bound)


def safe_unit(*values: torch.Tensor) -> float:
    """The unit of `unit_of` for the largest value of all tensors.

    Parameters
    ----------
    *values : tensor
        Tensors of one dtype.

    Returns
    -------
    float
    """
    return unit_of(max(largest_value(x) for x in values), values[0].dtype)


@documented_by(chunk_rows)
def unit_of(largest: float, dtype: torch.dtype) -> float:
    """A unit for values whose squares and products would leave the range of their dtype.

    Parameters
    ----------
    largest : float
        Largest absolute value.

    Returns
    -------
    float, a power of two near the largest value, or 1 if its fourth power is representable
    """
    info = torch.finfo(dtype)
    if largest == 0 or info.tiny**0.25 < largest < info.max**0.25:
        return 1.0
    return power_of_two(largest, dtype)


@documented_by(largest_value)
def in_safe_unit(values: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Divide values by the unit of `safe_unit`.

    Returns
    -------
    values : tensor
        The values divided by the unit. They are not copied if the unit is 1.
    unit : float
        The unit.
    """
    if torch.compiler.is_compiling():  # a graph cannot depend on values
        return values, 1.0
    unit = safe_unit(values)
    return (values if unit == 1 else values / unit), unit


def unit_length(x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Divide rows by their Euclidean norms, without overflow or underflow.

    Parameters
    ----------
    x : tensor of shape (..., d)
        Rows. Rows of zeros stay zeros.
    out : tensor of shape (..., d) or None, default=None
        Receives the result, and may be x itself.

    Returns
    -------
    tensor of shape (..., d)
    """
    info = torch.finfo(x.dtype)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    if torch.compiler.is_compiling():  # a graph cannot branch on values
        return torch.div(x, length.clamp_min(info.tiny), out=out)
    doubtful = ~((length > info.tiny**0.25) & (length < info.max**0.25)).squeeze(-1)
    rows = x[doubtful]
    answer = torch.div(x, length.clamp_min(info.tiny), out=out)
    if len(rows):  # their squares are imprecise or not finite
        largest = rows.abs().amax(-1, keepdim=True)
        rows /= torch.where(largest > 0, largest, 1)
        answer[doubtful] = rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1)
    return answer


@documented_by(unit_of)
def check_reach(largest: float, dtype: torch.dtype, name: str, *, fitting: bool, wide: bool = False) -> None:
    """Check that values are neither too large nor, in a fit, all too small for computations in their dtype.

    Parameters
    ----------
    name : str
        Name of the values for the message.
    fitting : bool
        Whether an estimator is fitted to the values.
    wide : bool, default=False
        Whether the method computes squares only after it divided by a unit of its own.

    Raises
    ------
    ValueError
        If the values are too large or too small.
    """
    low, high = (_WIDE_REACH if wide else _REACH)[dtype]
    if largest > high:
        what, do = "large", "divide X by a constant"
    elif fitting and 0 < largest < low:
        what, do = "small", "multiply X by a constant"
    else:
        return
    kind = str(dtype).removeprefix("torch.")
    wider = "" if dtype == torch.float64 else ", or pass float64"
    raise ValueError(
        f"the largest absolute value in {name} is {largest:.2g}, which is too {what} to compute with in {kind}. The "
        f"largest value must lie between {low:.0e} and {high:.0e}: {do}{wider}."
    )
