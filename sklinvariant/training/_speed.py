"""Lower precision and compiled networks, which make training faster on a GPU."""

import contextlib
import warnings
from typing import Any

import torch

from sklinvariant._precision import computing_in


class Precision(contextlib.ExitStack):
    """The precision of a training. Inside the context, matrix products have it; `autocast` is for each step.

    Raises a ValueError if a lower precision is asked for and the module is float64.
    """

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        super().__init__()
        self.name = name
        first = next(iter([*module.parameters(), *module.buffers()]), torch.empty(0))
        self.device = first.device.type
        if name != "float32" and first.dtype == torch.float64:
            raise ValueError(
                f"precision={name!r} was given, but X is float64, which is computed in float64. Pass X as float32, or "
                "use precision='float32'"
            )

    def __enter__(self) -> "Precision":
        super().__enter__()
        self.enter_context(computing_in(self.name))
        return self

    def autocast(self) -> contextlib.AbstractContextManager:
        """torch's autocast to bfloat16, or a context without effect."""
        if self.name != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)


def compiled_or_eager(module: torch.nn.Module, batch: Any) -> torch.Tensor:
    """``module(batch)``. If a module that should be compiled cannot be, warn once and compute it without a compiler."""
    if module._compiled_call_impl is None:
        return module(batch)
    from torch._dynamo.exc import TorchDynamoException

    try:
        return module(batch)
    except (TorchDynamoException, ImportError, OSError) as error:
        module._compiled_call_impl = None
        warnings.warn(
            f"the network could not be compiled ({type(error).__name__}: {_shortened(error)}). It is trained without "
            "compilation, which gives the same model. torch.compile needs a C++ compiler, and Triton on a GPU.",
            RuntimeWarning,
            stacklevel=2,
        )
        return module(batch)


def _shortened(error):
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + " …"
