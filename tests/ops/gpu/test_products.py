"""Blocks of rows and products of blocks against torch, in each precision."""

import pytest
import torch

from sklinvariant._precision import computing_in
from sklinvariant.ops._kernels import dot_precision, launch


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-6), ("tf32", 2e-3), ("bf16", 2e-2)])
def test_add_product(gpu, precision, rtol):
    triton = pytest.importorskip("triton")
    import triton.language as tl

    from sklinvariant.ops.gpu._products import add_product

    def kernel(a, b, out, PRECISION: tl.constexpr):
        i = tl.arange(0, 16)
        place = i[:, None] * 16 + i[None, :]
        tl.store(out + place, add_product(tl.load(out + place), tl.load(a + place), tl.load(b + place), PRECISION))

    kernel.__globals__.update(tl=tl, add_product=add_product)  # where Triton looks for names
    a, b, out = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)).to(gpu)
    expected = out.double() + a.double() @ b.double()
    with computing_in(precision):
        launch(triton.jit(kernel), (1,), a, b, out, PRECISION=dot_precision(a, b))
    error = (out - expected).abs().max() / expected.abs().max()
    assert error < rtol
    if precision == "bf16":
        assert error > 1e-6  # the factors were rounded


def test_load_rows(gpu):
    """Rows 4 to 1, of which row 1 is not live, and three features of a block of four."""
    triton = pytest.importorskip("triton")
    import triton.language as tl

    from sklinvariant.ops.gpu._products import load_rows

    def kernel(values, shift, out, d):
        i, dims = tl.arange(0, 4), tl.arange(0, 4)
        rows = 4 - i
        tl.store(out + i[:, None] * 4 + dims[None, :], load_rows(values, rows, rows > 1, dims, d, shift))

    kernel.__globals__.update(tl=tl, load_rows=load_rows)  # where Triton looks for names
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(torch.bfloat16)
    shift, out = torch.tensor([1.0, 2.0, 3.0]), torch.full((4, 4), torch.nan)
    values, shift, out = values.to(gpu), shift.to(gpu), out.to(gpu)
    launch(triton.jit(kernel), (1,), values, shift, out, 3)
    expected = torch.zeros(4, 4)
    expected[:3, :3] = (values[2:].flip(0).float() - shift).cpu()
    assert torch.equal(out.cpu(), expected)
