"""The page of the tour: a card for each family, with the scores of the method and of its baseline, and a picture."""

from collections.abc import Mapping
from typing import Any

OURS, BASELINE = "#0072B2", "#9A9A9A"
_CARD = (5.2, 5.4)  # inches


def draw_page(rows: Mapping[str, Any]) -> Any:
    """A figure with a card for each {family: row}, up to three side by side."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    from sklinvariant.inspection import style

    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    with style():
        figure: Any = plt.figure(figsize=(_CARD[0] * columns, _CARD[1] * lines + 0.9 * (columns > 1)))
        page = figure
        if columns > 1:
            head, page = figure.subfigures(2, 1, height_ratios=(0.9, _CARD[1] * lines))
            head.suptitle("Methods and their baselines on scikit-learn's digits", fontsize=17, y=0.95)
            handles = [
                Patch(color=OURS, label="sklinvariant"),
                Patch(color=BASELINE, label="baseline (longer is better)"),
            ]
            head.legend(handles=handles, loc="lower center", ncols=2, fontsize=13)
        cards = page.subfigures(lines, columns, squeeze=False).flat
        for card, (family, row) in zip(cards, rows.items(), strict=False):
            _draw_card(card, family, row)
    return figure


def _draw_card(card, family, row):
    """The scores as bars, and below them the picture with its caption."""
    above, below = card.subfigures(2, 1, height_ratios=(1, 2.4))
    above.suptitle(f"{family}: {row.gives}", fontsize=13, fontweight="bold")
    axes = above.subplots()
    scores = [row.score, row.baseline_score]
    bars = axes.barh([row.estimator, row.baseline], scores, color=[OURS, BASELINE], height=0.7)
    axes.bar_label(bars, [f"{score:.2f}" for score in scores], padding=3, fontsize=11)
    axes.set(xlim=(0, 1.12), xticks=[0, 0.5, 1], xlabel=row.metric)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.tick_params(axis="x", labelsize=9)
    row.draw(below)
    below.suptitle(row.caption, fontsize=11)
