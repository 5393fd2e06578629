"""When an operator runs as a Triton kernel, and how kernels are launched.

``ops/_name.py`` computes an operator with torch, on any device. ``ops/gpu/_name.py`` computes it with Triton kernels,
with the same arguments and up to rounding the same results. The first calls the second where `has_kernel` says so.
"""

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import torch

from sklinvariant._precision import current_precision
from sklinvariant._warnings import warn

KERNEL_DEVICES = {"cuda"}
SHARED_BYTES = 160 << 10  # of a block, for which the kernels are written: A100, H100, H200 and later of this kind
KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def has_kernel(*tensors: torch.Tensor, dtypes: Sequence[torch.dtype] = KERNEL_DTYPES) -> bool:
    """Whether Triton kernels can compute on all these tensors: on the same GPU, and of the given dtypes."""
    first = tensors[0].device
    return (
        first.type in KERNEL_DEVICES
        and all(tensor.device == first and tensor.dtype in dtypes for tensor in tensors)
        and _kernels_work(first)
    )


_WORKING: dict[torch.device, bool] = {}


def _kernels_work(device):
    """Whether Triton is installed and can compile and run a kernel on the device. If it cannot, warn once."""
    if device not in _WORKING:  # torch.compile traces this line, but would ignore a cache of functools
        _WORKING[device] = _try_kernel(device)
    return _WORKING[device]


@torch._disable_dynamo
def _try_kernel(device):
    if importlib.util.find_spec("triton") is None:  # builds of torch for Windows, for example, come without it
        return False
    if device.type == "cuda" and _shared_bytes(device) < SHARED_BYTES:
        return False
    from sklinvariant.ops.gpu._trial import runs_on

    try:
        return runs_on(device)
    except Exception as error:  # of the C compiler that Triton calls, of the driver, or of Triton itself
        warn(
            f"Triton cannot run kernels on {device} ({type(error).__name__}: {error}). torch computes the same results "
            "with more memory and time. Triton needs a C compiler, and a version that suits torch.",
            RuntimeWarning,
        )
        return False


def _shared_bytes(device):
    """Bytes of shared memory that a block of threads can use. Versions of torch that do not know it are not asked."""
    return getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", SHARED_BYTES)


def launch(
    kernel: Any, grid: tuple[int, ...], *arguments: Any, num_warps: int = 4, num_stages: int = 2, **constants: Any
) -> None:
    """Run a kernel on the device of its first tensor. ``constants`` are its ``tl.constexpr`` arguments."""
    _run(kernel, grid, arguments, {"num_warps": num_warps, "num_stages": num_stages}, constants)


def _run(kernel, grid, arguments, options, constants):  # tests replace it, to count or to compile ahead of time
    first = next(argument for argument in arguments if isinstance(argument, torch.Tensor))
    with torch.cuda.device(first.device if first.is_cuda else -1):
        kernel[grid](*arguments, **options, **constants)


def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, which has no bfloat16 products and no instructions of a GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def counts_bits() -> bool:
    """Whether the kernels can use the instruction of NVIDIA GPUs that counts bits."""
    return torch.version.hip is None and not is_interpreted()


def dot_precision(*tensors: torch.Tensor) -> str:
    """The precision of matrix products in kernels: "bf16" if a tensor is bfloat16, else the current one.

    "ieee" is float32, "tf32" rounds the factors to 10 bits and "bf16" to 7 bits; all sum in float32.
    """
    if current_precision() == "bf16" or any(tensor.dtype == torch.bfloat16 for tensor in tensors):
        return "bf16 interpreted" if is_interpreted() else "bf16"
    return "tf32" if current_precision() == "tf32" else "ieee"


def padded(size: int, least: int = 16, most: int = 128) -> int:
    """The power of two that is not below ``size``, within the bounds. Blocks of kernels have such sizes."""
    return min(max(1 << (size - 1).bit_length() if size > 1 else 1, least), most)
