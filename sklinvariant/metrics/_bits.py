"""How a code uses its bits (figure 5 of Morère et al. 2016): a bit tells most if it is on half the time, by itself.

Codes are (n, n_bits) of 0 and 1, or bytes with ``packed=True``. The sums over codes are made block by block: codes
are never held as floats.
"""

from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.utils import check_array, gen_batches

from sklinvariant._settings import with_own_settings
from sklinvariant.base import to_numpy

_ROWS = 1 << 14


@with_own_settings
def bit_activations(codes: Any, *, packed: bool = False) -> np.ndarray:
    """How often each bit is on; 0.5 is ideal.

    Parameters
    ----------
    codes : array of shape (n, n_bits) of 0 and 1, or of probabilities; or (n, n_bytes) uint8 where ``packed``
    packed : bool, default=False

    Returns
    -------
    ndarray of shape (n_bits,)
        Between 0 and 1. Of packed codes, 8 bits a byte, padding included.

    Examples
    --------
    >>> from sklinvariant.metrics import bit_activations
    >>> bit_activations([[0, 1], [1, 1]])
    array([0.5, 1. ])
    """
    n, sums = 0, np.float64(0)
    for block in _blocks(codes, packed):
        n, sums = n + len(block), sums + block.sum(0)
    return sums / n


@with_own_settings
def bit_entropy(codes: Any, *, packed: bool = False) -> np.ndarray:
    """Entropy of each bit over the codes, in bits: ``-p log2 p - (1-p) log2 (1-p)`` of its mean activation p.

    Parameters
    ----------
    codes, packed
        As in `bit_activations`.

    Returns
    -------
    ndarray of shape (n_bits,)
        Between 0, a bit that never changes, and 1, ideal.

    Examples
    --------
    >>> from sklinvariant.metrics import bit_entropy
    >>> bit_entropy([[0, 1], [1, 1]])
    array([1., 0.])
    """
    return _entropy(bit_activations(codes, packed=packed))


@with_own_settings
def code_entropy(codes: Any, *, packed: bool = False) -> np.ndarray:
    """Entropy within each code, in bits: that of the share p of its bits that are on.

    Parameters
    ----------
    codes, packed
        As in `bit_activations`.

    Returns
    -------
    ndarray of shape (n,)
        Between 0, all bits alike, and 1, half of them on. Padding of packed codes counts as bits that are off.

    Examples
    --------
    >>> from sklinvariant.metrics import code_entropy
    >>> code_entropy([[0, 1], [1, 1]])
    array([1., 0.])
    """
    return _entropy(np.concatenate([block.mean(1) for block in _blocks(codes, packed)]))


@with_own_settings
def bit_correlation(codes: Any, *, packed: bool = False) -> np.ndarray:
    """Correlation of each bit with each other over the codes; 0 off the diagonal is ideal.

    Parameters
    ----------
    codes, packed
        As in `bit_activations`.

    Returns
    -------
    ndarray of shape (n_bits, n_bits)
        Between -1 and 1; rows and columns of a bit that never changes are NaN.

    Examples
    --------
    >>> from sklinvariant.metrics import bit_correlation
    >>> bit_correlation([[0, 1], [1, 0]])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    centre, n, products = bit_activations(codes, packed=packed), 0, 0.0
    for block in _blocks(codes, packed):
        block = block - centre  # before it is multiplied, or rare bits would cancel
        n, products = n + len(block), products + block.T @ block
    deviation = np.sqrt(np.diag(products))
    deviation[deviation == 0] = np.nan
    correlation = np.clip(products / deviation[:, None] / deviation, -1, 1)
    np.fill_diagonal(correlation, np.where(np.isnan(deviation), np.nan, 1.0))
    return correlation


def _entropy(p):
    return (entr(p) + entr(1 - p)) / np.log(2) + 0.0  # not -0


def _blocks(codes, packed):
    """The bits of some codes at a time, float64."""
    codes = check_array(to_numpy(codes), dtype=None)
    if packed and codes.dtype != np.uint8:
        raise ValueError(f"packed=True takes bytes (uint8), got {codes.dtype}")
    if not packed and (codes.min() < 0 or codes.max() > 1):
        raise ValueError(f"codes must lie between 0 and 1, got {codes.min()} to {codes.max()}")
    for rows in gen_batches(len(codes), _ROWS):
        yield (np.unpackbits(codes[rows], axis=1) if packed else codes[rows]).astype(np.float64)
