"""Lower precision and compiled networks, which make training faster on a GPU."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import torch

from sklinvariant._precision import computing_in
from sklinvariant._warnings import warn

T = TypeVar("T")


class Precision:
    """The precision of the steps of a training. Everything else, such as scores and callbacks, is float32.

    Raises a ValueError if a lower precision is asked for and the module is float64.
    """

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        self.name = name
        first = next(iter([*module.parameters(), *module.buffers()]), torch.empty(0))
        self.device = first.device.type
        if name != "float32" and first.dtype == torch.float64:
            raise ValueError(
                f"precision={name!r} was given, but X is float64, which is computed in float64. Pass X as float32, or "
                "use precision='float32'"
            )

    def of_step(self) -> contextlib.AbstractContextManager:
        """The precision of matrix products in a step, forward and backward."""
        return contextlib.nullcontext() if self.name == "float32" else computing_in(self.name)

    def autocast(self) -> contextlib.AbstractContextManager:
        """torch's autocast to bfloat16 for the forward pass, or a context without effect."""
        if self.name != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)


def compiled_or_eager(module: torch.nn.Module, step: Callable[[], T]) -> T:
    """``step()``, which computes the loss of the module and its gradients.

    If the module should be compiled and the step fails, warn, and compute it again without a compiler. Buffers, such as
    those of batch normalisation, are restored before.
    """
    if module._compiled_call_impl is None:
        return step()
    from torch._dynamo.exc import TorchDynamoException

    buffers = [buffer.clone() for buffer in module.buffers()]
    try:
        return step()
    except torch.OutOfMemoryError:
        raise
    except (TorchDynamoException, ImportError, OSError, RuntimeError) as error:
        module._compiled_call_impl = None
        module.zero_grad()
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.data.copy_(before)
        warn(
            f"the network could not be compiled ({type(error).__name__}: {_shortened(error)}). It is trained without "
            "compilation. torch.compile needs a C++ compiler, and Triton on a GPU.",
            RuntimeWarning,
        )
        return step()


def _shortened(error):
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + " …"
