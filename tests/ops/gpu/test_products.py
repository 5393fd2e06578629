"""Products of blocks against torch, in each precision."""

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
