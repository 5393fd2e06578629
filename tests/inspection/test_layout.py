"""The figures of all displays can be read: sizes of texts, overlaps, legends, titles, labels, colours."""

import layout
import numpy as np
import pytest

from sklinvariant import inspection
from sklinvariant.inspection import (
    BitActivationDisplay,
    ClusterDisplay,
    ClusterGalleryDisplay,
    CodebookDisplay,
    PoolingRegionDisplay,
    RetrievalDisplay,
    SegmentationDisplay,
    SimplexDisplay,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.random((60, 8, 8))
LABELS = np.arange(60) % 25
PROBABILITIES = np.eye(25)[LABELS] * 0.7 + 0.3 / 25
MAPS = np.arange(60).reshape(3, 4, 5) % 6
NAMES = [str(i) for i in range(12)]
LONG_FRAMES = ["the same image", "another image, also if of the same class"]
LONG = [f"a class with a long name {i}" for i in range(25)]


def retrieval(**kwargs):
    ranking = np.arange(24).reshape(3, 8)
    return RetrievalDisplay.from_predictions(ranking, IMAGES[:3], IMAGES, y=[0, 1, 2], y_database=LABELS, **kwargs)


# name: (what draws on a new figure, texts that must be there)
DISPLAYS = {
    "codewords": (lambda: CodebookDisplay(IMAGES[:16].reshape(16, 64), (8, 8)).plot(), ["16 codewords"]),
    "points": (
        lambda: CodebookDisplay(IMAGES[:16, 0, :2]).plot(),
        ["16 codewords", "first descriptor value", "second descriptor value"],
    ),
    "bits": (
        lambda: BitActivationDisplay(IMAGES[0].ravel(), np.corrcoef(IMAGES.reshape(60, 64).T), "A").plot(),
        ["bits of A", "bit", "mean activation (ideal: 0.5)", "correlation of the bits", "correlation"],
    ),
    "clusters": (
        lambda: ClusterDisplay(IMAGES, [[1, 2, 3], [4, 5]] * 6, NAMES).plot(),
        ["filters pooled together", "filters, largest weight first", "component", *NAMES],
    ),
    "regions": (
        lambda: PoolingRegionDisplay(RNG.random((12, 6, 9, 9)), NAMES).plot(),
        ["pooling regions", "feature maps, largest weight first", "component", "weight / largest weight", *NAMES],
    ),
    "summed regions": (
        lambda: PoolingRegionDisplay(RNG.random((12, 9, 9))).plot(),
        ["pooling regions", "components, sum over all feature maps", "weight / largest weight"],
    ),
    "retrieval": (retrieval, ["query", "nearest", "8.", "frame", "correct", "wrong"]),
    "retrieval of one": (
        lambda: RetrievalDisplay.from_predictions([[1]], IMAGES[:1], IMAGES, y=[0], y_database=LABELS),
        ["query", "nearest", "correct", "wrong"],
    ),
    "retrieval of one with long names": (
        lambda: RetrievalDisplay.from_predictions(
            [[1]], IMAGES[:1], IMAGES, y=[0], y_database=LABELS, distances=[[0.5]], frame_names=LONG_FRAMES
        ),
        ["query", "0.5", *LONG_FRAMES],
    ),
    "distances": (
        lambda: retrieval(distances=RNG.random((3, 8)) * 1e4),
        ["query", "above each neighbour: distance to the query", "correct", "wrong"],
    ),
    "gallery": (
        lambda: ClusterGalleryDisplay.from_predictions(PROBABILITIES, IMAGES, y=LABELS),
        ["images of each cluster, most certain first", "cluster 24 (class 24)", "another class"],
    ),
    "gallery of long names": (
        lambda: ClusterGalleryDisplay.from_predictions(PROBABILITIES, IMAGES, y=np.array(LONG)[LABELS]),
        ["images of each cluster, most certain first", f"cluster 24 (class {LONG[24]})", "another class"],
    ),
    "gallery of few images": (
        lambda: ClusterGalleryDisplay.from_predictions(LABELS % 3, IMAGES, y=np.array(LONG)[LABELS % 3], n_images=1),
        ["images of each cluster, most certain first", f"cluster 2 (class {LONG[2]})"],
    ),
    "segments": (
        lambda: SegmentationDisplay.from_predictions(MAPS, IMAGES[:3, :4, :5], MAPS),
        ["image", "prediction", "truth", "class", "0", "5"],
    ),
    "simplex": (
        lambda: SimplexDisplay.from_predictions(PROBABILITIES, y=LABELS),
        ["cluster probabilities", "class", "24"],
    ),
    "simplex with images": (
        lambda: SimplexDisplay.from_predictions(PROBABILITIES, images=IMAGES),
        ["cluster probabilities"],
    ),
}


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_display_can_be_read(pyplot, name):
    draw, expected = DISPLAYS[name]
    figure = draw().figure_
    assert layout.problems(figure) == []
    texts = {text.get_text() for text in layout.texts(figure)}
    assert texts >= set(expected)


def test_every_display_is_tested():
    tested = {type(draw()).__name__ for draw, _ in DISPLAYS.values()}
    assert tested == {name for name in inspection.__all__ if name.endswith("Display")}


def test_problems_are_found(pyplot):
    """The test above can fail."""
    figure, axes = pyplot.subplots(1, 2, figsize=(4, 3))
    assert layout.problems(figure) == []
    axes[0].plot([0, 1], label="a line")
    axes[0].legend(loc="center")
    axes[0].set_xlabel("tiny", fontsize=4)
    axes[1].set_title("a title that is much too long for its narrow axes")
    axes[0].set_title("another one, as long")
    axes[1].text(0.5, 0.5, "one")
    axes[1].text(0.5, 0.5, "two")
    found = " ".join(layout.problems(figure))
    for sentence in ("a legend covers", "'tiny' has 4", "leaves the figure", "'one' overlaps 'two'"):
        assert sentence in found


def test_many_clusters_have_as_many_colours(pyplot):
    display = SimplexDisplay.from_predictions(PROBABILITIES)
    colors = np.unique(display.ax_.collections[0].get_facecolor()[:, :3], axis=0)
    assert len(colors) == 25
    assert layout.deuteranopic_distances(colors).min() > 15
    maps = np.arange(25).reshape(1, 5, 5)
    segments = SegmentationDisplay.from_predictions(maps, IMAGES[:1, :5, :5])
    drawn = np.asarray(segments.axes_[0, 1].images[0].get_array()).reshape(25, 3)
    assert layout.deuteranopic_distances(drawn).min() > 15


def test_frames_differ_with_deuteranopia(pyplot):
    display = retrieval()
    frames = {ax.spines["left"].get_edgecolor()[:3] for ax in display.axes_[:, 1:].ravel()}
    assert len(frames) == 2
    assert layout.deuteranopic_distances(list(frames)).min() > 15


def test_simulated_deuteranopia_confuses_red_and_green():
    pairs = {"confused": [[0.6, 0.6, 0.2], [0.85, 0.5, 0.2]], "kept": [[0, 0, 1], [1, 1, 0]]}
    distances = {name: layout.deuteranopic_distances(pair)[0] for name, pair in pairs.items()}
    assert distances["confused"] < 15 < 50 < distances["kept"]
