"""The kind of array of an input, and the device for computations."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklinvariant._compat import array_namespace
from sklinvariant.base._tensors import ArrayLike, as_numpy, as_tensor, is_bags


def resolve_device(device: str | torch.device, like: Any = None) -> torch.device:
    """The torch device of ``device="auto"`` (that of a tensor input, else CUDA, else CPU) or of an explicit name.

    "auto" never selects MPS. MPS has no float64, in which moments and statistics are accumulated, and the package has
    not been tested on it.
    """
    if isinstance(device, str) and device == "auto":
        if isinstance(like, torch.Tensor):
            return like.device
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} is not available on this machine ({error}). Use 'auto' or 'cpu'"
        ) from error


def torch_generator(random_state: int | np.random.RandomState | None) -> torch.Generator:
    """A new torch generator, seeded from a scikit-learn ``random_state``. The global generators are not touched."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))


class ArrayKind:
    """The kind and device of an input array, to return results as the same kind on the same device."""

    def __init__(self, X: ArrayLike) -> None:
        values = X.values if is_bags(X) else X
        values = values[0] if isinstance(values, (list, tuple)) and values else values
        self.tensor_device = values.device if isinstance(values, torch.Tensor) else None
        self.namespace = None if self.tensor_device is not None else array_namespace(values)
        self.device = getattr(values, "device", None)

    @property
    def name(self) -> str:
        """Name of the array namespace, such as "numpy" or "torch"."""
        return "torch" if self.tensor_device is not None else getattr(self.namespace, "__name__", "numpy")

    def wrap(self, result: np.ndarray | torch.Tensor) -> ArrayLike:
        """Convert a tensor or numpy array to the kind and device of the input."""
        if self.tensor_device is not None:
            return as_tensor(result).to(self.tensor_device)
        if isinstance(result, torch.Tensor):
            result = result.detach().cpu().numpy()
        if self.namespace is not None:
            return self.namespace.asarray(result, device=self.device)
        return result


def to_numpy(X: ArrayLike) -> Any:
    """Convert tensors, lists of them and arrays of array-API libraries to numpy; return other input unchanged."""
    if isinstance(X, torch.Tensor):
        return as_numpy(X)
    if isinstance(X, (list, tuple)) and X and all(isinstance(row, torch.Tensor) for row in X):
        return [as_numpy(row) for row in X]  # numpy itself reads neither bfloat16 nor float8
    if array_namespace(X) is not None:
        return np.from_dlpack(X)
    return X
