"""Colours of clusters and classes."""

import numpy as np

RIGHT, WRONG = "#009E73", "#D55E00"  # frames of correct and of wrong images

# Seven colours of Okabe and Ito (2008). Each of the others is the colour that differs most from the ones before it, in
# CIELAB, with normal vision and with simulated deuteranopia.
_COLORS = bytes.fromhex("""
    0072B2 E69F00 009E73 CC79A7 56B4E9 D55E00 F0E442 0000FF 462E0C 0C178B F3DCB9 74E868 DC1746 AE51FF 462346 5DF3F3
    AE008B 3A5D51 0068FF E88B80 802E00 0C00B9 002E74 A28BFF 00FFD1
""")


def palette(n: int) -> np.ndarray:
    """Colours that people with colour blindness can distinguish as well if they are at most 25.

    Parameters
    ----------
    n : int
        Number of colours.

    Returns
    -------
    array of shape (n, 3)
        Red, green and blue from 0 to 1.

    Examples
    --------
    >>> from sklinvariant.inspection import palette
    >>> palette(2).round(2).tolist()
    [[0.0, 0.45, 0.7], [0.9, 0.62, 0.0]]
    """
    from matplotlib import colormaps

    if 3 * n > len(_COLORS):
        return colormaps["turbo"](np.linspace(0, 1, n))[:, :3]
    return np.frombuffer(_COLORS, np.uint8, count=3 * n).reshape(n, 3) / 255
