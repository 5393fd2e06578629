"""The page of the tour: the scores of each row, named metrics, and texts that can be read."""

import layout
import numpy as np
import pytest

from sklinvariant.cli._tour_families import Row
from sklinvariant.cli._tour_page import BASELINE, OURS, draw_page


def a_row(score):
    made = "LearnedVLAD", "labels", "vectors", "accuracy"
    return Row(*made, score, "KMeans on pixels", 0.25, lambda part: part.subplots(), "test accuracy", "what is shown")


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_a_page_has_a_card_for_each_row(pyplot, n):
    from matplotlib.colors import to_rgba

    figure = draw_page({f"family {i}": a_row(1 - i / 10) for i in range(n)})
    assert layout.problems(figure) == []
    bars = [axes for axes in figure.axes if axes.get_xlabel() == "test accuracy"]
    assert len(bars) == n
    for i, axes in enumerate(bars):
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [1 - i / 10, 0.25])
        assert [bar.get_facecolor() for bar in axes.patches] == [to_rgba(OURS), to_rgba(BASELINE)]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["LearnedVLAD", "KMeans on pixels"]
    texts = [text.get_text() for text in layout.texts(figure)]
    assert texts.count("what is shown") == n
    assert f"family {n - 1}: vectors" in texts
    assert ("baseline (longer is better)" in texts) == (n > 1)
