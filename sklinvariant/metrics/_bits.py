"""Are bits used equally, and do they tell different things? (Morère et al. 2016, figure 5.)"""

import numpy as np

from sklinvariant._base import to_numpy


def bit_activation(codes):
    """How often each bit is on; 0.5 is best.

    Parameters
    ----------
    codes : array of shape (n, b)
        Bits 0/1.

    Returns
    -------
    array of shape (b,)

    Examples
    --------
    >>> from sklinvariant.metrics import bit_activation
    >>> bit_activation([[0, 1], [1, 1]])
    array([0.5, 1. ])
    """
    return _bits(codes).mean(axis=0)


def bit_entropy(codes):
    """Entropy of each bit over the codes, in bits; 1 is best.

    Parameters
    ----------
    codes : array of shape (n, b)
        Bits 0/1.

    Returns
    -------
    array of shape (b,)
    """
    return _entropy(_bits(codes).mean(axis=0))


def code_entropy(codes):
    """Entropy of the bits within each code, in bits; 1 where half of them are on.

    Parameters
    ----------
    codes : array of shape (n, b)
        Bits 0/1.

    Returns
    -------
    array of shape (n,)
    """
    return _entropy(_bits(codes).mean(axis=1))


def bit_correlation(codes):
    """Correlation of each bit with each other over the codes; bits that never change have none, 0.

    Parameters
    ----------
    codes : array of shape (n, b)
        Bits 0/1.

    Returns
    -------
    array of shape (b, b)
    """
    bits = _bits(codes)
    centred = bits - bits.mean(axis=0)
    spread = np.sqrt((centred**2).sum(axis=0))
    centred /= np.where(spread > 0, spread, 1)
    return centred.T @ centred


def _entropy(p):
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(q > 0, -q * np.log2(q), 0) for q in (p, 1 - p)]
    return parts[0] + parts[1]


def _bits(codes):
    codes = np.asarray(to_numpy(codes))
    if codes.ndim != 2 or 0 in codes.shape or not np.isin(codes, (0, 1)).all():
        raise ValueError(f"codes must be of shape (n, b) and hold bits 0 and 1, got {codes.shape} {codes.dtype}")
    return codes.astype(np.float64)
