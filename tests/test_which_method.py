"""The chart of the guide: it can be read, and names what the table below it names."""

import re
import runpy
from pathlib import Path

import layout
import pytest
from sklearn.utils.discovery import all_estimators

import sklinvariant

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="installed without docs")


@pytest.fixture
def chart(pyplot):
    return runpy.run_path(str(DOCS / "images" / "which_method.py"))


def test_the_chart_can_be_read(chart):
    figure = chart["draw_chart"]()
    assert layout.problems(figure) == []
    axes = figure.axes[0]
    boxes = [patch.get_window_extent() for patch in axes.patches]
    boxed = [text for text in axes.texts if text.get_fontsize() == 12]
    assert len(boxes) == len(boxed)
    for box, text in zip(boxes, boxed, strict=True):
        inside = text.get_window_extent()
        assert box.x0 < inside.x0 < inside.x1 < box.x1, text.get_text()
        assert box.y0 < inside.y0 < inside.y1 < box.y1, text.get_text()


def test_the_chart_names_estimators_of_the_table(chart):
    cells = " ".join(text for answers in chart["METHODS"].values() for text in answers)
    names = set(re.findall(r"\b[A-Z]\w*[a-z]\w*\b|\bVLAD\b", cells))
    table = (DOCS / "guide.md").read_text(encoding="utf-8").partition("## Choosing a method")[2]
    others = {name for name, _ in all_estimators()}
    assert {"LearnedBoW", "IICSegmenter", "KMeans"} <= names
    for name in names - {"LearnedFisherVector"}:  # behind the dots of the table
        assert f"`{name}" in table, name
    assert all(hasattr(sklinvariant, name) or name in others for name in names)
