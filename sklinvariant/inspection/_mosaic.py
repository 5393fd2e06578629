"""Arrangement of small images in one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklinvariant.inspection._palette import RIGHT, WRONG


def mosaic(tiles: np.ndarray, columns: int, fill: float = 1.0) -> np.ndarray:
    """Arrange tiles row by row in one image, one pixel apart.

    Parameters
    ----------
    tiles : array of shape (n, h, w) or (n, h, w, c)
        Small images.
    columns : int
        Number of tiles in a row.
    fill : float, default=1.0
        Value between the tiles, and of missing tiles in the last row.

    Returns
    -------
    array of shape (H, W) or (H, W, c)
        The image.
    """
    n, height, width, *channels = tiles.shape
    rows = -(-n // columns)
    image = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *channels), float(fill))
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        image[top : top + height, left : left + width] = tile
    return image


def stretched(tiles: Any) -> np.ndarray:
    """Scale each tile from its own range to 0-1."""
    flat = np.asarray(tiles, np.float64).reshape(len(tiles), -1)
    low, span = flat.min(1, keepdims=True), np.ptp(flat, axis=1, keepdims=True)
    return ((flat - low) / np.where(span > 0, span, 1)).reshape(np.shape(tiles))


def around_grey(tiles: np.ndarray) -> np.ndarray:
    """Scale each tile symmetrically to 0-1, so that 0 becomes 0.5.

    Parameters
    ----------
    tiles : array of shape (n, h, w) or (n, h, w, c)
        Small images, such as filters.

    Returns
    -------
    array of the shape of tiles
    """
    largest = np.abs(np.asarray(tiles, np.float64).reshape(len(tiles), -1)).max(1)
    return tiles / (2 * np.where(largest > 0, largest, 1)).reshape(-1, *[1] * (np.ndim(tiles) - 1)) + 0.5


_CHARACTER = 0.075  # inches, at 9 points


def new_axes(image: np.ndarray, rows: int = 1, longest: float = 6.0, names: Sequence[str] | None = None) -> Any:
    """The axes of a new figure for an image whose longer side measures ``longest`` inches, or more if it has many rows.

    Each row gets at least 0.2 inches, which its label needs. The names of the rows make the figure wider.
    """
    import matplotlib.pyplot as plt

    height, width = image.shape[:2]
    scale = max(longest / max(height, width), 0.2 * rows / height)
    labels = _CHARACTER * max(map(len, names or [""]))
    _, ax = plt.subplots(figsize=(labels + max(3.6, width * scale), max(1.5, height * scale + 0.6)))
    return ax


def label_rows(ax: Any, names: Sequence[str] | None, height: int) -> None:
    """Label the rows of a mosaic of tiles of the given height, and remove frame and ticks."""
    from matplotlib import rcParams

    ax.set(xticks=[], yticks=[])
    if names is not None:
        ax.set_yticks(np.arange(len(names)) * (height + 1) + (height - 1) / 2, names)
    ax.tick_params(length=0, labelsize=rcParams["ytick.labelsize"])
    for side in ax.spines.values():
        side.set_visible(False)


def frame_handles(right: str, wrong: str) -> list[Any]:
    """Entries of a legend that says what the frames of images mean."""
    from matplotlib.patches import Patch

    pairs = ((RIGHT, right), (WRONG, wrong))
    return [Patch(facecolor="none", edgecolor=color, linewidth=2.5, label=name) for color, name in pairs]


def columns_of_legend(names: Sequence[str], figure: Any) -> int:
    """Two, if two names fit beside each other below a figure, else one."""
    handles = 1.2  # inches, with the space around them
    return 2 if handles + _CHARACTER * sum(map(len, names)) <= figure.bbox.width / figure.dpi else 1
