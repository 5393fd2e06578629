"""The user's settings of torch and numpy are set aside while we compute, and torch's global generators are borrowed.

Modes of torch (gradients, inference, autocast, default device) and numpy's error handling belong to a thread, and so
does what is done here. The default dtype belongs to the process: our own code names the dtype of each tensor instead.
"""

import contextlib
import functools
import inspect
import os
import threading

import numpy as np
import torch

_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # numpy's own defaults
_AUTOCAST = ("cpu", "cuda")
_count_modes = torch._C._len_torch_function_stack  # a default device is such a mode


def _in_own_precision():
    """Whether no default device is set and no autocast is on."""
    return not _count_modes() and not any(map(torch.is_autocast_enabled, _AUTOCAST))


def _as_torch_starts():
    """Whether nothing that `_own_settings` undoes is set; asked at each call of a public method, and so kept cheap."""
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and _in_own_precision()
        and np.geterr() == _NUMPY_ERRORS
    )


@contextlib.contextmanager
def _own_precision():
    with contextlib.ExitStack() as stack:
        if _count_modes():
            stack.enter_context(torch.device("cpu"))
        for kind in filter(torch.is_autocast_enabled, _AUTOCAST):
            # without a cache: one made inside of the user's context would outlive ours, and hold weights as they were
            stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        yield


@contextlib.contextmanager
def _own_settings():
    with _own_precision(), torch.inference_mode(False), torch.enable_grad(), np.errstate(**_NUMPY_ERRORS):
        yield


def with_own_settings(function):
    """Run a function as if the user had set nothing: no autocast, no_grad, inference_mode, default device or seterr."""
    return _wrapped(function, _as_torch_starts, _own_settings)


def in_own_precision(function):
    """Run a differentiable function on the CPU by default and without autocast; gradients stay as the user has them."""
    return _wrapped(function, _in_own_precision, _own_precision)


def _wrapped(function, is_set, settings):
    @functools.wraps(function)
    def call(*args, **kwargs):
        if is_set():
            return function(*args, **kwargs)
        with settings():
            return function(*args, **kwargs)

    return call


class OwnSettings:
    """Base of classes whose public methods all run as `with_own_settings` runs functions."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if inspect.isfunction(value) and (name == "__call__" or not name.startswith("_")):
                setattr(cls, name, with_own_settings(value))


def detached(tensor):
    """A tensor without its graph; one that was made under ``inference_mode``, which autograd refuses, is copied."""
    tensor = tensor.detach()
    return tensor.clone() if tensor.is_inference() else tensor


# Modules of the user's (dropout, random weights in a factory) know only torch's global generators. One of them at a
# time may draw from those, as set by a seed, and they are put back afterwards.
_GLOBAL_GENERATORS = threading.RLock()


def _forget_lock():
    """In a forked child: the lock may be held by a thread that does not exist there."""
    global _GLOBAL_GENERATORS
    _GLOBAL_GENERATORS = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


@contextlib.contextmanager
def borrowed_generators(seed, device="cpu"):
    """Seed torch's global generators of the CPU and of a device for what runs inside; leave them as they were."""
    device = torch.device(device)
    cuda = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with _GLOBAL_GENERATORS, torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


@contextlib.contextmanager
def making_modules(seed):
    """`borrowed_generators` for code of the user's that makes a module: it is made in float32 whatever the default."""
    with borrowed_generators(seed):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def draw_seed(generator):
    """A seed for another generator, drawn from this one; 0 where it is None."""
    if generator is None:
        return 0
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))
