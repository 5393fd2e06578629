"""The figures of commands can be read: sizes of texts, overlaps, legends beside the curves."""

from types import SimpleNamespace

import layout
import numpy as np
import pytest

from sklinvariant.cli import _aggregation, _pool, _retrieve

pytestmark = pytest.mark.usefixtures("pyplot")
METHODS = ("BagOfWords", "VLAD", "FisherVector", "LearnedBoW", "LearnedVLAD")


def draw_aggregation():
    sizes = (16, 64, 256)
    rows = [{"method": name, "features": n, "accuracy": i / 5} for i, name in enumerate(METHODS) for n in sizes]
    _aggregation._draw(rows, SimpleNamespace(codebook_=np.random.default_rng(0).random((16, 16))), [], "a.png")


def draw_retrieve():
    angles = list(range(0, 181, 15))
    curve = np.linspace(1, 0.5, len(angles))
    names = ("average", "translation", "rotation", "rotation and scale")
    _retrieve._draw({name: (curve, curve / 2) for name in names}, angles, "a.png")


def draw_pool():
    rng = np.random.default_rng(0)
    pooling = SimpleNamespace(components_=rng.random((30, 7 * 7 * 24)))
    curve = {0: 1.2, 2: 1.5, 10: 2, 50: 4, 250: 6, 1000: 9}
    _pool._draw(pooling, rng.normal(size=(24, 6, 6)), (7, 7), curve, 1.1, "a.png")


@pytest.mark.parametrize(
    ("module", "draw"), [(_aggregation, draw_aggregation), (_retrieve, draw_retrieve), (_pool, draw_pool)]
)
def test_figures_can_be_read(module, draw, monkeypatch):
    found = []

    def save(figure, path, dpi):
        found.append((layout.problems(figure), [axes.get_title() for axes in figure.axes if axes.lines]))

    monkeypatch.setattr(module, "save_figure", save)
    draw()
    [(problems, titles)] = found
    assert problems == []
    assert all(titles)
