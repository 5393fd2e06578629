"""Draw the thumbnails of the examples that the gallery does not run: python docs/images/thumbnails.py docs/images."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sklinvariant import VLAD, DensePatches
from sklinvariant.datasets import load_digits_images, make_textures
from sklinvariant.inspection import palette, style

SIZE = (4.0, 2.8)  # inches, the ratio of the gallery's thumbnails
ARROW = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 2, "mutation_scale": 18}


def frame(ax, title):
    """A title and a thin frame without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=13)


@style()
def draw_anyloc():
    """An image with the cells that are described, and its VLAD: a row of residuals for each codeword."""
    images = make_textures(8, random_state=0)[0]
    cells = DensePatches(8, stride=8).fit_transform(images)
    vlad = VLAD(4, random_state=0).fit(cells).transform(cells)[0].reshape(4, -1)
    figure, (left, right) = plt.subplots(1, 2, figsize=SIZE)
    figure.get_layout_engine().set(wspace=0.2)
    left.imshow(images[0], cmap="gray")
    lines = np.arange(8, images.shape[1], 8) - 0.5
    left.vlines(lines, *left.get_ylim(), color=palette(2)[1], linewidth=1)
    left.hlines(lines, *left.get_xlim(), color=palette(2)[1], linewidth=1)
    frame(left, "cells")
    strength = np.abs(vlad).max()
    for codeword, color in enumerate(palette(4)):
        residuals = vlad[codeword, :16] / strength
        right.bar(range(16), residuals, bottom=-2.2 * codeword, width=1.0, color=color)
    frame(right, "VLAD")
    left.annotate("", (1.22, 0.5), (1.02, 0.5), xycoords="axes fraction", arrowprops=ARROW)
    return figure


@style()
def draw_distributed():
    """Two processes, each with its part of the images, that average their gradients."""
    images = load_digits_images(return_X_y=True)[0]
    figure, axes = plt.subplots(1, 2, figsize=SIZE)
    figure.get_layout_engine().set(wspace=0.3)
    for rank, ax in enumerate(axes):
        part = np.pad(images[rank:18:2], ((0, 0), (1, 1), (1, 1))).reshape(3, 3, 10, 10)
        ax.imshow(part.swapaxes(1, 2).reshape(30, 30), cmap="gray_r")
        frame(ax, f"process {rank}")
        for spine in ax.spines.values():
            spine.set(visible=True, color=palette(2)[rank], linewidth=3)
    axes[0].annotate("", (1.35, 0.5), (1.02, 0.5), xycoords="axes fraction", arrowprops=ARROW | {"arrowstyle": "<|-|>"})
    figure.suptitle("gradients are averaged", y=0.08, fontsize=13)
    return figure


THUMBNAILS = {"anyloc_in_ten_lines": draw_anyloc, "distributed": draw_distributed}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, draw in THUMBNAILS.items():
        draw().savefig(folder / f"{name}-thumbnail.png", dpi=150)
