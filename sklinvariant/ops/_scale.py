"""What is done about numbers whose squares and products leave the range of their dtype.

Methods that do not depend on the scale of the data compute in a unit near the largest value, a power of two, by which
dividing loses no digit. At ordinary scales the unit is 1 and nothing is copied.
"""

import math

import torch

# Between these the largest value must lie. A sum of float32 must fit in; squares of float64 too, since nothing wider
# holds the squares that estimators report, such as errors.
_REACH = {torch.float32: (2.0**-110, 2.0**112), torch.float64: (2.0**-508, 2.0**508)}
_WIDE_REACH = {torch.float32: (2.0**-120, 2.0**125), torch.float64: (2.0**-960, 2.0**1010)}
_EXPONENTS = {torch.float32: 120, torch.float64: 1000}  # of units, of which the inverse must be a normal number too


def largest_value(values):
    """Largest absolute value as a float: one pass, no copy. NaN or infinity where the values hold one; 0 for none."""
    if values.numel() == 0:
        return 0.0
    low, high = torch.aminmax(values.detach())
    return float(torch.maximum(high.double().abs(), low.double().abs()))


def power_of_two(value, dtype=torch.float64):
    """A power of two near a value, as a float; 1 for a value of 0."""
    if not value > 0:
        return 1.0
    bound = _EXPONENTS[dtype]
    return 2.0 ** min(max(math.frexp(value)[1], -bound), bound)


def safe_unit(*values):
    """A power of two near the largest of the floats in all tensors, or 1 where their fourth powers can be held."""
    dtype = values[0].dtype
    info = torch.finfo(dtype)
    largest = max(largest_value(x) for x in values)
    if largest == 0 or info.tiny**0.25 < largest < info.max**0.25:
        return 1.0
    return power_of_two(largest, dtype)


def in_safe_unit(values):
    """``values / unit`` and the unit that `safe_unit` gives; the values themselves where it is 1."""
    unit = safe_unit(values)
    return (values if unit == 1 else values / unit), unit


def unit_length(x, out=None):
    """x divided by its Euclidean length along the last axis, however long or short that is; zeros stay zeros.

    ``out`` takes the answer, and may be x itself.
    """
    info = torch.finfo(x.dtype)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    doubtful = ~((length > info.tiny**0.25) & (length < info.max**0.25)).squeeze(-1)
    rows = x[doubtful]
    answer = torch.div(x, length.clamp_min(info.tiny), out=out)
    if len(rows):  # their squares are not precise, or not finite
        largest = rows.abs().amax(-1, keepdim=True)
        rows /= torch.where(largest > 0, largest, 1)
        answer[doubtful] = rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1)
    return answer


def check_reach(largest, dtype, name, *, fitting, wide=False):
    """Refuse numbers that are too large to compute with in their dtype, or, in a fit, all of them too small.

    ``wide`` is for methods that take squares only in units of their own.
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
