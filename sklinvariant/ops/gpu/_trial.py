"""A kernel that shows whether Triton works on a device."""

import torch
import triton
import triton.language as tl

from sklinvariant.ops._kernels import launch


@triton.jit
def _count_kernel(out, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    tl.store(out + index, index)


def runs_on(device: torch.device) -> bool:
    """Whether a kernel runs on the device and computes the right result."""
    out = torch.zeros(16, dtype=torch.int32, device=device)
    launch(_count_kernel, (1,), out, SIZE=16)
    return out.tolist() == list(range(16))
