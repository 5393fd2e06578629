"""Kinds of X that are not arrays."""

from typing import Any

import torch

from sklinvariant.base._lazy_answers import is_lazy


def is_bags(X: Any) -> bool:
    """Whether X is a `DescriptorSets`."""
    return not isinstance(X, torch.Tensor) and hasattr(X, "offsets") and hasattr(X, "values")


def is_stream(X: Any) -> bool:
    """Whether X is an iterable of blocks, such as a generator, and neither an array nor a list."""
    is_indexed = any(hasattr(X, name) for name in ("__getitem__", "__array__", "shape"))
    return hasattr(X, "__iter__") and not is_indexed and not is_lazy(X)
