"""Isolation from the user's torch and numpy settings, and temporary use of torch's global generators.

The modes of torch (gradients, inference, autocast, default device) and numpy's error handling are settings of a thread,
and they are replaced for the current thread only. The default dtype is a setting of the process and is not replaced:
the package names the dtype of each tensor explicitly. The switches of TF32 are described in `_precision`.
"""

import contextlib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from sklinvariant._precision import own_switches, switches_are_own

P = ParamSpec("P")
R = TypeVar("R")

_NUMPY_ERRORS: dict[str, Any] = {
    "divide": "warn",
    "over": "warn",
    "under": "ignore",
    "invalid": "warn",
}  # numpy's own defaults
_AUTOCAST = ("cpu", "cuda")
_count_modes = torch._C._len_torch_function_stack  # a default device is a function mode


def _in_own_precision():
    """Whether no default device is set and no autocast is on."""
    return not _count_modes() and not any(map(torch.is_autocast_enabled, _AUTOCAST))


def _as_torch_starts():
    """Whether all settings that `_own_settings` replaces have their defaults. It is called often and must be fast."""
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and _in_own_precision()
        and np.geterr() == _NUMPY_ERRORS
        and switches_are_own()
    )


@contextlib.contextmanager
def _own_precision():
    with contextlib.ExitStack() as stack:
        if _count_modes():
            stack.enter_context(torch.device("cpu"))
        for kind in filter(torch.is_autocast_enabled, _AUTOCAST):
            # no cache: a cache created inside the user's context would outlive this one and hold outdated weights
            stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        yield


@contextlib.contextmanager
def _own_settings():
    with (
        _own_precision(),
        own_switches(),
        torch.inference_mode(False),
        torch.enable_grad(),
        np.errstate(**_NUMPY_ERRORS),
    ):
        yield


def with_own_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function without the user's autocast, TF32, no_grad, inference_mode, default device or numpy.seterr."""
    return _wrapped(function, _as_torch_starts, _own_settings)


def in_own_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a differentiable function without autocast and default device, but with the user's gradient mode."""
    return _wrapped(function, _in_own_precision, _own_precision)


def _wrapped(function, is_set, settings):
    @functools.wraps(function)
    def call(*args, **kwargs):
        if torch.compiler.is_compiling() or is_set():  # a graph has the settings of its caller
            return function(*args, **kwargs)
        with settings():
            return function(*args, **kwargs)

    return call


class OwnSettings:
    """Base of classes whose public methods are all wrapped by `with_own_settings`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and (name == "__call__" or not name.startswith("_")):
                setattr(cls, name, with_own_settings(value))


def detached(tensor: torch.Tensor) -> torch.Tensor:
    """Detach a tensor from its graph; copy it if it was created under ``inference_mode``, which autograd rejects."""
    tensor = tensor.detach()
    return tensor.clone() if tensor.is_inference() else tensor


# User-defined modules (dropout, random weights in a factory) draw from torch's global generators. One thread at a time
# seeds and uses these generators; their state is restored afterwards.
_GLOBAL_GENERATORS = threading.RLock()


def _forget_lock():
    """Replace the lock in a forked child, where the thread that holds it may not exist."""
    global _GLOBAL_GENERATORS
    _GLOBAL_GENERATORS = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


@contextlib.contextmanager
def borrowed_generators(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Seed torch's global generators of the CPU and of a device inside the context, and restore them afterwards."""
    device = torch.device(device)
    cuda = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with _GLOBAL_GENERATORS, torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


@contextlib.contextmanager
def making_modules(seed: int) -> Iterator[None]:
    """`borrowed_generators` for user code that creates a module; the default dtype is float32 inside the context."""
    with borrowed_generators(seed):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def draw_seed(generator: torch.Generator | None) -> int:
    """Draw a seed for another generator from this one; 0 if it is None."""
    if generator is None:
        return 0
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))
