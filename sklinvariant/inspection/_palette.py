"""Colours of clusters and classes."""

import numpy as np


def palette(n):
    """n colours (n, 3) in 0-1, easy to tell apart: matplotlib's tables, and around the circle for more than 20."""
    from matplotlib import colormaps

    if n <= 20:
        return np.array(colormaps["tab10" if n <= 10 else "tab20"].colors)[:n]
    return colormaps["hsv"](np.arange(n) / n)[:, :3]
