"""Blocks of rows inside kernels, and their products in the precision that `dot_precision` names."""

import triton
import triton.language as tl


@triton.jit
def load_rows(values, rows, live, dims, d, shift):
    """values - shift of a block of rows, as float32; 0 in rows that are not ``live`` and beyond feature d."""
    inside = live[:, None] & (dims[None, :] < d)
    x = tl.load(values + rows[:, None] * d + dims[None, :], mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, x - tl.load(shift + dims, mask=dims < d, other=0.0)[None, :], 0.0)


@triton.jit
def add_product(total, a, b, PRECISION: tl.constexpr):
    """total (m, n) + a (m, d) @ b (d, n). The sum is float32."""
    if PRECISION == "bf16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    elif PRECISION == "bf16 interpreted":  # the interpreter can round to bfloat16, but not multiply it
        a, b = a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32)
        return tl.dot(a, b, total, input_precision="ieee")
    else:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision=PRECISION)
