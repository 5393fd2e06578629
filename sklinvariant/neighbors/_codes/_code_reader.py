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
        if reset and estimator.packed:
            refuse_unpacked("X", X, ", or set packed=False")
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


def refuse_unpacked(name: str, codes: np.ndarray, otherwise: str = "") -> None:
    """Raise a ValueError for bytes (n, n_bytes) that are bits 0 and 1.

    They are told from packed codes by at least 8 bytes of which each is 1 in some row, while no byte of any row is
    larger than 1. Of random codes, at most a share of 2**-56 is refused. Of useful codes none is refused, because seven
    of eight of their bits would be constant.
    """
    if codes.dtype != np.uint8 or codes[:_ROWS].max(initial=0) > 1 or codes.max(initial=0) != 1:
        return
    if np.count_nonzero(codes.any(axis=0)) >= 8:
        raise ValueError(
            f"{name} contains only bytes 0 and 1, in rows of {codes.shape[1]}, which are bits and not packed codes. "
            f"Pack them with numpy.packbits({name}, axis=1) or a hasher with packed=True{otherwise}."
        )


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
