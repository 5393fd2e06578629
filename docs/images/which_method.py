"""Draw the chart "Which method do I need" of the user guide: python docs/images/which_method.py which-method.png."""

import sys

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from sklinvariant.inspection import palette, style

COLUMNS = ("features", "binary codes", "clusters or classes", "segments")
LEFT = (0.0, 3.75, 6.75, 8.95, 12.1)  # inches: the questions, then the columns
WIDTH = (3.0, 2.65, 1.85, 2.8, 1.75)
ROW, HEIGHT = 1.0, 0.74
CODES, CLUSTERS = "NeighborHasher", "IICClusterer,\nKMeans"
METHODS = {
    "labels of all samples?": ("LearnedBoW, LearnedVLAD,\nSecondOrderPooling", CODES, "any classifier", ""),
    "a few labels,\nmany images?": ("SparseAutoencoder", "", "IICClassifier", ""),
    "video?": ("AutoPooling", CODES, 'IICClusterer\n(pairs="temporal")', ""),
    "content kept by quarter\nturns or reflections?": ("EquivariantAutoencoder", CODES, CLUSTERS, ""),
    "content kept by rotations\nby any angle?": ("CanonicalRotation,\nthen any features", CODES, CLUSTERS, ""),
    "content kept by other\ntransformations?": ("NestedInvariancePooler", CODES, "IICClusterer", "IICSegmenter"),
    "vectors and\ntheir neighbours?": ("your vectors", CODES + ",\nITQHasher", 'IICClusterer\n(pairs="neighbors")', ""),
    "only images": ("ConvolutionalFeatures,\nBagOfWords, VLAD, …", CODES, "IICClusterer", "IICSegmenter"),
}


def draw_box(ax, column, row, text, color):
    """A box with text. Its centre is at the height of the row."""
    left, bottom = LEFT[column], -ROW * row - HEIGHT / 2
    shape = "round,pad=0,rounding_size=0.1"
    ax.add_patch(
        FancyBboxPatch((left, bottom), WIDTH[column], HEIGHT, boxstyle=shape, facecolor=color, edgecolor="0.3")
    )
    ax.text(left + WIDTH[column] / 2, -ROW * row, text, ha="center", va="center", fontsize=12)


def draw_arrow(ax, start, end, text=""):
    """An arrow between two points, with text beside its middle."""
    ax.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    )
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    across = start[1] == end[1]
    ax.text(
        x if across else x + 0.08,
        y + 0.04 if across else y,
        text,
        fontsize=11,
        color="0.3",
        ha="center" if across else "left",
        va="bottom" if across else "center",
    )


@style()
def draw_chart():
    """The questions from top to bottom; to the right of each, what to use for each kind of result."""
    figure, ax = plt.subplots(figsize=(14.0, 8.6))
    tints = 0.72 + 0.28 * palette(4)  # light colours, on which black text can be read
    ax.text(LEFT[0] + WIDTH[0] / 2, 0.68, "I have …", ha="center", fontsize=15, fontweight="bold")
    for column, name in enumerate(COLUMNS, 1):
        ax.text(LEFT[column] + WIDTH[column] / 2, 0.68, name, ha="center", fontsize=15, fontweight="bold")
    for row, (question, answers) in enumerate(METHODS.items()):
        draw_box(ax, 0, row, question, "white")
        last = row == len(METHODS) - 1
        if not last:
            middle = LEFT[0] + WIDTH[0] / 2
            draw_arrow(ax, (middle, -ROW * row - HEIGHT / 2), (middle, -ROW * (row + 1) + HEIGHT / 2), "no")
        draw_arrow(ax, (LEFT[0] + WIDTH[0], -ROW * row), (LEFT[1], -ROW * row), "" if last else "yes")
        if answers[1]:
            draw_arrow(ax, (LEFT[1] + WIDTH[1], -ROW * row), (LEFT[2], -ROW * row))
        for column, text in enumerate(answers, 1):
            if text:
                draw_box(ax, column, row, text, tints[column - 1])
    ax.set(xlim=(-0.1, LEFT[-1] + WIDTH[-1] + 0.1), ylim=(-ROW * len(METHODS) + 0.5, 1.0))
    ax.set_axis_off()
    ax.set_aspect("equal")
    return figure


if __name__ == "__main__":
    draw_chart().savefig(sys.argv[1], dpi=90)
