"""Colours of clusters and classes."""

import numpy as np


def palette(n: int) -> np.ndarray:
    """n colours (n, 3) in 0-1, easy to tell apart: matplotlib's tables, and around the circle for more than 20."""
    from matplotlib import colormaps

    if n <= 20:
        return colormaps["tab10" if n <= 10 else "tab20"](np.arange(n))[:, :3]
    return colormaps["hsv"](np.arange(n) / n)[:, :3]
