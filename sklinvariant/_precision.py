"""The precision of float32 matrix products and convolutions, whatever the process-wide switches of torch say.

torch may round the factors of float32 products to 10 bits (TF32, on GPUs) or 7 bits (bfloat16, on some CPUs). Its
switches apply to the whole process, and that of convolutions on GPUs is on by default. While a method of an estimator
runs, they are set to the precision of the estimator; afterwards they are restored. If methods run at the same time in
several threads, TF32 is used only if all of them ask for it.
"""

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Iterator

import torch

_PRECISION = contextvars.ContextVar("precision", default="float32")
_SWITCHES = (("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn"), ("mkldnn", "matmul"), ("mkldnn", "conv"))
_HAS_SWITCHES = hasattr(torch._C, "_get_fp32_precision_getter")  # torch >= 2.9


def current_precision() -> str:
    """The precision that the training in this thread asked for: "float32", "tf32" or "bf16"."""
    return _PRECISION.get()


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Use a precision inside the context, in this thread. For "bf16" the caller also turns on autocast."""
    token = _PRECISION.set(precision)
    try:
        with own_switches():
            yield
    finally:
        _PRECISION.reset(token)


@functools.cache
def _has_cuda():
    return torch.cuda.is_available()


def switches_are_own() -> bool:
    """Whether `own_switches` would change nothing.

    With CUDA that is only so inside of it, because another thread may switch at any time.
    """
    if _wanted.get(threading.get_ident()) == _needed():
        return True
    return not _has_cuda() and _is_exact("mkldnn", "matmul") and _is_exact("mkldnn", "conv")


def _needed():
    return "tf32" if current_precision() == "tf32" else "ieee"


def _is_exact(*switch):
    if _HAS_SWITCHES:
        return torch._C._get_fp32_precision_getter(*switch) in ("none", "ieee")
    return torch.get_float32_matmul_precision() == "highest"


_lock = threading.RLock()
_wanted: dict[int, str] = {}  # threads that compute now, and their precision: "ieee" or "tf32"
_saved: list = []  # the switches of the user, while a thread computes


@contextlib.contextmanager
def own_switches() -> Iterator[None]:
    """Set torch's switches to the current precision of this thread, and restore them at the end."""
    thread, wanted = threading.get_ident(), _needed()
    before = _wanted.get(thread)
    if before == wanted:
        yield
        return
    with _lock:
        if not _wanted:
            _saved[:] = _read()
        _wanted[thread] = wanted
        _apply()
    try:
        yield
    finally:
        with _lock:
            if before is not None:
                _wanted[thread] = before
                _apply()
            else:
                del _wanted[thread]
                if _wanted:
                    _apply()
                else:
                    _restore(*_saved)


def _forget_threads():
    """In a forked child only the forking thread goes on, and another thread may have held the lock."""
    global _lock
    _lock = threading.RLock()
    thread, computing = threading.get_ident(), bool(_wanted)
    for other in _wanted.keys() - {thread}:
        del _wanted[other]
    if _wanted:
        _apply()
    elif computing:
        _restore(*_saved)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _read():
    """The switches of products and of convolutions (None where old and new ones contradict each other), and the new."""
    new = [torch._C._get_fp32_precision_getter(*switch) for switch in _SWITCHES] if _HAS_SWITCHES else []
    return _unless_mixed(torch.get_float32_matmul_precision), _unless_mixed(_convolutions), new


def _unless_mixed(read):
    try:
        return read()
    except RuntimeError:
        return None


def _convolutions():
    return torch.backends.cudnn.allow_tf32


def _apply():
    exact = "ieee" in _wanted.values()
    old_products, old_convolutions, new = _saved
    # the old switches too, because torch raises an error if someone reads them while they contradict the new ones
    if old_products is not None:
        torch.set_float32_matmul_precision("highest" if exact else "high")
    if old_convolutions is not None:
        torch.backends.cudnn.allow_tf32 = not exact
    for backend, kind in _SWITCHES[: len(new)]:
        value = "ieee" if exact or backend == "mkldnn" else "tf32"
        torch._C._set_fp32_precision_setter(backend, kind, value)


def _restore(old_products, old_convolutions, new):
    if old_products is not None:
        torch.set_float32_matmul_precision(old_products)
    if old_convolutions is not None:
        torch.backends.cudnn.allow_tf32 = old_convolutions
    for switch, value in zip(_SWITCHES, new, strict=False):
        if torch._C._get_fp32_precision_getter(*switch) != value:
            torch._C._set_fp32_precision_setter(*switch, "none")
            if torch._C._get_fp32_precision_getter(*switch) != value:  # it was not inherited
                torch._C._set_fp32_precision_setter(*switch, value)
