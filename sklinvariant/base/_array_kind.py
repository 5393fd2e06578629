"""Which kind of array came in, and on which device to compute."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklinvariant._compat import array_namespace
from sklinvariant.base._tensors import as_numpy, as_tensor, is_bags


def resolve_device(device, like=None):
    """The torch device of ``device="auto"`` (that of a tensor input, else CUDA, else CPU) or of an explicit name.

    "auto" leaves MPS out: it holds no float64, in which moments and statistics are summed here, and nothing of ours has
    been run on it.
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
        raise ValueError(f"device={device!r} is not to be had here; use 'auto' or 'cpu' ({error})") from error


def torch_generator(random_state):
    """A torch generator of our own (the global ones are neither read nor moved), seeded as scikit-learn seeds."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))


class ArrayKind:
    """Remembers what kind of array came in, so that the answer goes out as the same kind, on the same device."""

    def __init__(self, X):
        values = X.values if is_bags(X) else X
        values = values[0] if isinstance(values, (list, tuple)) and values else values
        self.tensor_device = values.device if isinstance(values, torch.Tensor) else None
        self.namespace = None if self.tensor_device is not None else array_namespace(values)
        self.device = getattr(values, "device", None)

    @property
    def name(self):
        return "torch" if self.tensor_device is not None else getattr(self.namespace, "__name__", "numpy")

    def wrap(self, result):
        """A tensor (or numpy array) as the caller's kind of array."""
        if self.tensor_device is not None:
            return as_tensor(result).to(self.tensor_device)
        if isinstance(result, torch.Tensor):
            result = result.detach().cpu().numpy()
        if self.namespace is not None:
            return self.namespace.asarray(result, device=self.device)
        return result


def to_numpy(X) -> Any:
    """Any array on any device as numpy: tensors, lists of them, and what array-API libraries hold."""
    if isinstance(X, torch.Tensor):
        return as_numpy(X)
    if isinstance(X, (list, tuple)) and X and all(isinstance(row, torch.Tensor) for row in X):
        return [as_numpy(row) for row in X]  # numpy itself reads neither bfloat16 nor float8
    if array_namespace(X) is not None:
        return np.from_dlpack(X)
    return X
