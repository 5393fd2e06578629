"""The families of the tour: every row is complete."""

import layout
import pytest
from sklearn.datasets import load_digits

from sklinvariant.cli._tour_families import FAMILIES, Digits, Row
from sklinvariant.cli._tour_page import draw_page


@pytest.fixture(scope="module")
def digits():
    images, y = load_digits(n_class=3, return_X_y=True)
    images = images[:300].reshape(-1, 8, 8) / 16
    return Digits(images[:200], images[200:], y[:200], y[200:300], 0)


@pytest.mark.parametrize("family", ["hashing", "aggregation"])
def test_a_family_gives_a_row_with_a_figure(digits, family, pyplot):
    row = FAMILIES[family](digits)
    assert isinstance(row, Row)
    assert all(isinstance(text, str) and text for text in (*row[:4], row.baseline))
    assert 0 <= row.baseline_score <= 1
    assert 0 <= row.score <= 1
    figure = draw_page({family: row})
    assert layout.problems(figure) == []
    assert {row.metric, row.caption} <= {text.get_text() for text in layout.texts(figure)}
    assert len(figure.axes) > 1  # the bars, and what the row draws
