"""Statistics of the bits of a code (figure 5 of Morère et al. 2016).

A bit carries most information if it is on half of the time, independently of the other bits. Codes are (n, n_bits) of
0 and 1, or bytes with ``packed=True``. Sums over codes are computed block by block, to save memory.
"""

from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.utils import check_array, gen_batches

from sklinvariant._settings import with_own_settings
from sklinvariant.base import documented_by, to_numpy

_ROWS = 1 << 14


@with_own_settings
def bit_activations(codes: Any, *, packed: bool = False) -> np.ndarray:
    """Share of the codes in which each bit is on. The ideal value is 0.5.

    Parameters
    ----------
    codes : array of shape (n, n_bits) of 0 and 1, or of probabilities; or (n, n_bytes) uint8 if ``packed``
        The codes.
    packed : bool, default=False
        Whether the codes are bytes that hold 8 bits each.

    Returns
    -------
    ndarray of shape (n_bits,)
        Values between 0 and 1. For packed codes there are 8 for each byte, including the padding.

    Examples
    --------
    >>> from sklinvariant.metrics import bit_activations
    >>> bit_activations([[0, 1], [1, 1]])
    array([0.5, 1. ])
    """
    n, sums = 0, np.zeros(1)
    for block in _blocks(codes, packed):
        n, sums = n + len(block), sums + block.sum(0)
    return sums / n


@with_own_settings
@documented_by(bit_activations)
def bit_entropy(codes: Any, *, packed: bool = False) -> np.ndarray:
    r"""Entropy of each bit over the codes, in bits.

    For the mean activation p of a bit, this is

    .. math:: -p \log_2 p - (1 - p) \log_2 (1 - p)

    Returns
    -------
    ndarray of shape (n_bits,)
        Values between 0, for a bit that never changes, and 1, the ideal.

    Examples
    --------
    >>> from sklinvariant.metrics import bit_entropy
    >>> bit_entropy([[0, 1], [1, 1]])
    array([1., 0.])
    """
    return _entropy(bit_activations(codes, packed=packed))


@with_own_settings
@documented_by(bit_activations)
def code_entropy(codes: Any, *, packed: bool = False) -> np.ndarray:
    """Entropy within each code, in bits, computed from the share p of its bits that are on.

    Returns
    -------
    ndarray of shape (n,)
        Values between 0, if all bits are equal, and 1, if half of them are on. The padding of packed codes counts as
        bits that are off.

    Examples
    --------
    >>> from sklinvariant.metrics import code_entropy
    >>> code_entropy([[0, 1], [1, 1]])
    array([1., 0.])
    """
    return _entropy(np.concatenate([block.mean(1) for block in _blocks(codes, packed)]))


@with_own_settings
@documented_by(bit_activations)
def bit_correlation(codes: Any, *, packed: bool = False) -> np.ndarray:
    """Correlation matrix of the bits over the codes. The ideal value off the diagonal is 0.

    Returns
    -------
    ndarray of shape (n_bits, n_bits)
        Values between -1 and 1. The row and column of a bit that never changes are NaN.

    Examples
    --------
    >>> from sklinvariant.metrics import bit_correlation
    >>> bit_correlation([[0, 1], [1, 0]])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    centre, n, products = bit_activations(codes, packed=packed), 0, 0.0
    for block in _blocks(codes, packed):
        block = block - centre  # before the product, because rare bits would cancel
        n, products = n + len(block), products + block.T @ block
    deviation = np.sqrt(np.diag(products))
    deviation[deviation == 0] = np.nan
    correlation = np.clip(products / deviation[:, None] / deviation, -1, 1)
    np.fill_diagonal(correlation, np.where(np.isnan(deviation), np.nan, 1.0))
    return correlation


def _entropy(p):
    return (entr(p) + entr(1 - p)) / np.log(2) + 0.0  # not -0


def _blocks(codes, packed):
    """Blocks of the codes as bits, float64."""
    codes = check_array(to_numpy(codes), dtype=None)
    if packed and codes.dtype != np.uint8:
        raise ValueError(
            f"codes has dtype {codes.dtype}, but packed=True requires uint8. Pack the bits with numpy.packbits, or set "
            "packed=False."
        )
    if not packed and (codes.min() < 0 or codes.max() > 1):
        raise ValueError(
            f"codes has values from {codes.min()} to {codes.max()}, but bits must lie between 0 and 1. For packed "
            "codes set packed=True."
        )
    for rows in gen_batches(len(codes), _ROWS):
        yield (np.unpackbits(codes[rows], axis=1) if packed else codes[rows]).astype(np.float64)
