"""CodeReader: codes of any kind as packed bytes."""

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from sklinvariant.base import Input, Reader, dense_tensor, to_numpy

_ROWS = 1 << 16  # codes packed at a time


class CodeReader(Reader):
    """Reads codes as contiguous bytes (n, n_bytes). Packed codes, also those mapped from a file, are not copied."""

    needs = "codes"

    def _check(self, estimator, X, kind, reset):
        if reset or not _are_bytes_as_fitted(estimator, X):
            X = to_numpy(dense_tensor(X) if isinstance(X, torch.Tensor) else X)
            X = validate_data(estimator, X, dtype=None if estimator.packed else "numeric", reset=reset)
        codes = _packed_bytes(X) if estimator.packed else _packed_bits(X, estimator.binarize)
        return Input(codes, kind, torch.device("cpu"), torch.uint8)


def _are_bytes_as_fitted(estimator, X):
    """Whether scikit-learn's checks, which take as long as a search of 200,000 codes, can be skipped."""
    return (
        type(X) is np.ndarray
        and X.dtype == np.uint8
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
    )


def _packed_bytes(X):
    if X.dtype != np.uint8:
        raise ValueError(
            f"X has dtype {X.dtype}, but packed=True requires uint8. Pack the bits with numpy.packbits, or set "
            "packed=False."
        )
    return np.ascontiguousarray(X)


def _packed_bits(X, binarize):
    if X.dtype == np.uint8 and X.max() > 1:
        raise ValueError(
            f"X contains bytes up to {X.max()}, but with packed=False bits must be 0 or 1. Set packed=True for "
            "packed codes."
        )
    return pack_bits(X, binarize)


def pack_bits(X: np.ndarray, threshold: float) -> np.ndarray:
    """Pack the bits ``X > threshold`` of (n, b) numbers into (n, ceil(b / 8)) bytes, padded with zeros."""
    packed = np.empty((len(X), -(-X.shape[1] // 8)), dtype=np.uint8)
    for start in range(0, len(X), _ROWS):
        packed[start : start + _ROWS] = np.packbits(X[start : start + _ROWS] > threshold, axis=1)
    return packed
