"""Distances between the real-valued projections of a query and the bits of stored codes."""

import numpy as np


def asymmetric_distances(projections: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Distances of a query from packed codes: the sum of the |projections| over the bits that differ.

    For projections p (b,) and codes s (n, b) of -1 and 1, this is Σⱼ |pⱼ| [sign(pⱼ) ≠ sⱼ] = (‖p‖₁ - ⟨s, p⟩) / 2. If all
    |pⱼ| are 1, it is the Hamming distance. A bit that the query is not certain of thus counts little (Gordo et al.
    2014, Asymmetric distances for binary embeddings, section 3).

    Parameters
    ----------
    projections : ndarray of shape (n_bits,)
        Numbers whose signs are the bits of the query.
    codes : ndarray of shape (n, ⌈n_bits / 8⌉), uint8
        Packed codes.

    Returns
    -------
    ndarray of shape (n,), float32
    """
    differ = np.unpackbits(codes ^ np.packbits(projections > 0), axis=1, count=len(projections))
    return differ.astype(np.float32) @ np.abs(projections).astype(np.float32)
