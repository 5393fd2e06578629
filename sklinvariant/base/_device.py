"""The device and the random generator of computations."""

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklinvariant._distributed import of_first


def resolve_device(device: str | torch.device, own: torch.device | None = None) -> torch.device:
    """The torch device of an explicit name, or of "auto": the ``own`` device of the data, else CUDA, else CPU.

    "auto" never selects MPS. MPS has no float64, in which moments and statistics are accumulated, and the package has
    not been tested on it.
    """
    if isinstance(device, str) and device == "auto":
        if own is not None:
            return own
        if not torch.cuda.is_available():
            return torch.device("cpu")
        _check_fork()
        return torch.device("cuda")
    if str(device).startswith("cuda"):
        _check_fork()
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if "Expected one of" in str(error):  # a list of all kinds of devices that torch knows
            raise ValueError(f"device={device!r} is not the name of a device. Use 'auto', 'cpu' or 'cuda'") from error
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f"device={device!r} is not available on this machine ({reason}). Use 'auto' or 'cpu'"
        ) from error
    if found.type == "meta":
        raise ValueError(f"device={device!r} is not valid, because its tensors have no values. Use 'auto' or 'cpu'")
    return found


def _check_fork():
    """Raise a RuntimeError if this process was forked from one that had used CUDA, which CUDA does not support."""
    if getattr(torch.cuda, "_is_in_bad_fork", lambda: False)():
        raise RuntimeError(
            "CUDA cannot be used in this process, because it was forked from one that had used CUDA. Start processes "
            "with 'spawn', as joblib's default backend 'loky' does, or set device='cpu'"
        )


def torch_generator(random_state: int | np.random.RandomState | None) -> torch.Generator:
    """A new torch generator, seeded from a scikit-learn ``random_state``. The global generators are not touched.

    In a fit to the parts of several processes, the seed is that of process 0.
    """
    seed = of_first(lambda: check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return torch.Generator().manual_seed(int(seed))
