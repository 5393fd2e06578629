"""Colours of clusters and classes."""

import numpy as np


def palette(n: int) -> np.ndarray:
    """n distinguishable RGB colours (n, 3) in 0-1: matplotlib's qualitative colormaps, or hues for more than 20."""
    from matplotlib import colormaps

    if n <= 20:
        return colormaps["tab10" if n <= 10 else "tab20"](np.arange(n))[:, :3]
    return colormaps["hsv"](np.arange(n) / n)[:, :3]
