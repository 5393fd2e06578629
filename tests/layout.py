"""What makes a figure readable: texts that are large enough and apart, legends beside the data, colours that differ."""

from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import matplotlib.text
from matplotlib.legend import Legend
from matplotlib.offsetbox import AnnotationBbox

SMALLEST = 8  # points
# Machado, Oliveira, Fernandes (2009), deuteranopia, for linear RGB
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def problems(figure):
    """Sentences about what cannot be read in a drawn figure."""
    figure.canvas.draw()
    shown = texts(figure)
    legends = [legend for legend in figure.findobj(Legend) if legend.get_visible()]
    panels = [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_visible()]
    found = [
        f"{text.get_text()!r} has {text.get_fontsize()} points" for text in shown if text.get_fontsize() < SMALLEST
    ]
    found += [f"{a.get_text()!r} overlaps {b.get_text()!r}" for a, b in combinations(shown, 2) if _overlap(a, b)]
    found += [f"{text.get_text()!r} leaves the figure" for text in shown if not _inside(text, figure)]
    found += [
        f"a legend covers the axes {axes.get_title()!r}"
        for legend in legends
        for axes in panels
        if _overlap(legend, axes)
    ]
    boxes = figure.findobj(AnnotationBbox)
    return found + ["two images at vertices overlap" for a, b in combinations(boxes, 2) if _overlap(a, b)]


def deuteranopic_distances(colors):
    """Distances in CIELAB of each two colours (n, 3), as seen with deuteranopia."""
    colors = np.asarray(colors, float)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ DEUTERANOPIA.T).clip(0, 1) @ TO_XYZ.T / TO_XYZ.sum(1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)
    return np.array([np.linalg.norm(a - b) for a, b in combinations(lab, 2)])


def texts(figure):
    """The texts that are drawn. Axes without frame keep their titles, but neither ticks nor labels of axes."""
    hidden = set()
    for axes in figure.findobj(matplotlib.axes.Axes):
        if not (axes.axison and axes.get_visible()):
            hidden |= {text for axis in (axes.xaxis, axes.yaxis) for text in axis.findobj(matplotlib.text.Text)}
        for axis in (axes.xaxis, axes.yaxis):  # ticks outside the limits
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            hidden |= {tick.label1 for tick in ticks if not low - 1e-9 <= tick.get_loc() <= high + 1e-9}
    return [
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def _overlap(a, b):
    """Whether two artists share more than half a pixel in both directions."""
    a, b = a.get_window_extent(), b.get_window_extent()
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5


def _inside(text, figure):
    box, page = text.get_window_extent(), figure.bbox
    return page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1
