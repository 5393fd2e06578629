"""Checks of rows of features, and their conversion to tensors."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from sklinvariant._settings import detached
from sklinvariant.base._array_kind import to_numpy
from sklinvariant.base._containers import refuse_non_numbers
from sklinvariant.base._tensors import ArrayLike, as_tensor, exceeds_float32, is_bags, plain_tensor
from sklinvariant.ops import check_reach, compute_dtype, largest_value


def refuse_none(estimator: Any, X: ArrayLike, needed: str) -> None:
    """Raise a ValueError if X is None."""
    if X is None:
        raise ValueError(f"X is None, but {type(estimator).__name__} needs {needed}. Pass an array")


def refuse_bags(estimator: Any, X: ArrayLike, needed: str) -> None:
    """Raise a ValueError if X is a DescriptorSets."""
    if is_bags(X):
        raise ValueError(
            f"X is a DescriptorSets, bags of local descriptors, but {type(estimator).__name__} needs {needed}. "
            "Aggregate the bags first, for instance with BagOfWords or VLAD"
        )


def check_rows(estimator: Any, X: ArrayLike, *, reset: bool, wide: bool = False) -> torch.Tensor:
    """Rows (n, n_features) as a finite tensor on their device, in the precision of `in_compute_dtype`.

    Values that are too large for computations raise an error, and in fit also values that are all too small. ``wide``
    is for methods that compute squares only in units of their own. Feature maps (n, h, w, k) are flattened to rows of
    h·w·k values.
    """
    refuse_none(estimator, X, "rows of features")
    refuse_non_numbers(estimator, X, "rows of features")
    refuse_bags(estimator, X, "rows of features")
    if isinstance(X, torch.Tensor):
        X = plain_tensor(X)
    if getattr(X, "ndim", 2) == 4 and len(X):
        X = X.reshape(len(X), -1)
    if isinstance(X, torch.Tensor):
        return _check_tensor_rows(estimator, X, reset, wide)
    X = to_numpy(X)
    rows = validate_data(estimator, X, reset=reset, ensure_min_features=1, ensure_all_finite=False)
    rows = as_tensor(np.ascontiguousarray(in_compute_dtype(rows)))
    largest = largest_value(rows)  # replaces scikit-learn's search for NaN: one pass gives both
    if not math.isfinite(largest):
        validate_data(estimator, X, reset=False, ensure_min_features=1)  # raises an error with the details
    check_reach(largest, rows.dtype, "X", fitting=reset, wide=wide)
    return rows


def _check_tensor_rows(estimator, X, reset, wide):
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got a tensor of shape {tuple(X.shape)} instead. Reshape your data.")
    if X.is_complex():
        raise ValueError("Complex data not supported")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(
            f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s); a minimum of 1 is required"
        )
    rows = in_compute_dtype(detached(X))
    largest = largest_value(rows)
    if not math.isfinite(largest):
        raise ValueError("Input X contains NaN or infinity. Remove or impute these values")
    if reset:
        estimator.n_features_in_ = X.shape[1]
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} "
            "features as input"
        )
    check_reach(largest, rows.dtype, "X", fitting=reset, wide=wide)
    return rows


def in_compute_dtype(X: ArrayLike) -> Any:
    """Convert an array or tensor of numbers to the dtype of computations.

    This is float64 for float64 and for integers that float32 cannot represent exactly, otherwise float32.
    """
    if isinstance(X, torch.Tensor):
        return X.to(torch.float64 if exceeds_float32(X) else compute_dtype(X.dtype))
    wide = (X.dtype.kind == "f" and X.dtype.itemsize >= 8) or exceeds_float32(X)
    return X.astype(np.float64 if wide else np.float32, copy=False)


def as_numbers(X: ArrayLike, name: str) -> torch.Tensor:
    """Convert an array of real numbers of any shape to a tensor in the precision of `in_compute_dtype`."""
    X = plain_tensor(X, name) if isinstance(X, torch.Tensor) else np.asarray(to_numpy(X))
    real = not X.is_complex() if isinstance(X, torch.Tensor) else X.dtype.kind in "fiub"
    if not real:
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}. Convert it to float32 or float64")
    return as_tensor(in_compute_dtype(X)).detach()


def check_computed(estimator: Any, values: torch.Tensor) -> torch.Tensor:
    """Raise a FloatingPointError if scores are not finite, because decisions derived from them would hide it."""
    if not math.isfinite(largest_value(values)):
        raise FloatingPointError(
            f"{type(estimator).__name__} computed NaN or infinity from X, whose values are too far from those seen in "
            f"fit for {str(values.dtype).removeprefix('torch.')}. Scale X as in fit, or pass float64."
        )
    return values
