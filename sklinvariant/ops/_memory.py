"""Sizes of chunks, which shrink when a GPU runs out of memory.

The share of the usual size is kept until the method of the estimator that was called returns.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from sklinvariant._warnings import warn

T = TypeVar("T")

DEVICE_BYTES = 256 << 20  # size of a chunk on a GPU, which needs large kernel launches
SMALLEST_SHARE = 1 / 64
_SHARE = contextvars.ContextVar("share of the usual size of chunks", default=1.0)


def chunk_bytes(on_cpu: int, device: str | torch.device) -> int:
    """Bytes of a chunk, which become fewer when a GPU runs out of memory.

    Parameters
    ----------
    on_cpu : int
        Bytes of a chunk on a CPU. On other devices it has `DEVICE_BYTES`.
    device : str or torch.device
        Device that processes the chunk.

    Returns
    -------
    int
    """
    return int((on_cpu if torch.device(device).type == "cpu" else DEVICE_BYTES) * _SHARE.get())


def chunk_share(size: int) -> int:
    """The size of a chunk that the user has set, or a part of it if a GPU has run out of memory.

    Parameters
    ----------
    size : int
        The size, in any unit.

    Returns
    -------
    int, at least 1
    """
    return max(1, int(size * _SHARE.get()))


@contextlib.contextmanager
def usual_chunks() -> Iterator[None]:
    """Use chunks of the usual size inside the context, unless another context surrounds it."""
    token = _SHARE.set(_SHARE.get())
    try:
        yield
    finally:
        _SHARE.reset(token)


def in_smaller_chunks(compute: Callable[[], T], generator: torch.Generator | None = None) -> T:
    """Call a function. If a GPU runs out of memory, halve the chunks and call it again. Warn once it has succeeded.

    Parameters
    ----------
    compute : callable
        The function without arguments. It must be possible to call it again after an error.
    generator : torch.Generator or None, default=None
        Source of the function's random numbers, which are the same in each call.

    Returns
    -------
    object
        What the function returned.

    Raises
    ------
    MemoryError
        If chunks of 1/64 of the usual size are too large.
    """
    state = None if generator is None else generator.get_state()
    is_repeated = False
    while True:
        try:
            result = compute()
            break
        except torch.OutOfMemoryError as error:
            text = str(error)  # the error itself would keep the tensors of its frames in memory
        share = _SHARE.get() / 2
        if share < SMALLEST_SHARE:
            raise MemoryError(f"{text.rstrip('.')}, even in chunks of 1/{round(0.5 / share)} of the usual size")
        _SHARE.set(share)
        is_repeated = True
        if generator is not None and state is not None:
            generator.set_state(state)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if is_repeated:
        warn(
            f"the GPU ran out of memory. The computation was repeated in chunks of 1/{round(1 / _SHARE.get())} of the "
            "usual size. To avoid this, free memory of the GPU, or set a smaller chunk_size if the estimator has it.",
            RuntimeWarning,
        )
    return result
