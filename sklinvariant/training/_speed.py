"""Lower precision and compiled networks, which make training faster on a GPU."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import torch

from sklinvariant._distributed import current_processes, is_shared
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


def compile_module(module: torch.nn.Module) -> None:
    """Compile a module. Processes that train it together warn and compile nothing unless all of them can.

    In a step the processes add up their statistics, so that no process can repeat a step alone.
    """
    processes = current_processes()
    if processes is not None:
        problems = [problem for problem in processes.gather(_problem(module)) if problem]
        if problems:
            _warn(problems[0])
            return
    module.compile()


class _Trial(torch.nn.Module):
    """A small module. Those of torch are not compiled if they are called by themselves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.tanh()


def _problem(module):
    """Why this process cannot compile for the device of the module; None if it can."""
    trial, device = _Trial(), next((parameter.device for parameter in module.parameters()), None)
    trial.compile()
    try:
        trial(torch.zeros(2, device=device, requires_grad=True)).sum().backward()
    except Exception as error:  # any, because the other processes wait for this one
        return _described(error)
    return None


def compiled_or_eager(module: torch.nn.Module, step: Callable[[], T]) -> T:
    """``step()``, which computes the loss of the module and its gradients.

    If the module should be compiled and the step fails, compute it again without a compiler, and warn if that succeeds:
    compilers raise many kinds of errors, which can only be told from those of the network by trying. Buffers, such as
    those of batch normalisation, are restored before. If processes share the batch, raise a RuntimeError instead.
    """
    if module._compiled_call_impl is None:
        return step()
    buffers = [buffer.clone() for buffer in module.buffers()]
    try:
        return step()
    except torch.OutOfMemoryError:
        raise
    except _errors() as error:
        if is_shared():
            raise RuntimeError(
                f"a step of the compiled network failed in one of several processes ({_described(error)}). "
                "If torch.compile is the cause, set compile=False"
            ) from error
        module._compiled_call_impl = None
        module.zero_grad()
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.data.copy_(before)
        result = step()
        _warn(_described(error))
        return result


def _errors():
    """The errors of compilers, of a compiled network, and of missing compilers."""
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException, ImportError, OSError, RuntimeError


def _warn(problem):
    warn(
        f"torch.compile failed ({problem}). The network is trained without compilation. torch.compile needs a C++ "
        "compiler, and Triton on a GPU.",
        RuntimeWarning,
    )


def _described(error):
    return f"{type(error).__name__}: {_shortened(error)}"


def _shortened(error):
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + " …"
