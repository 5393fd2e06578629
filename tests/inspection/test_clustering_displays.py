"""Simplex, gallery, segments: points, tiles and pixels are where, and what, they should be."""

from itertools import pairwise
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from tolerance import assert_close

from sklinvariant.inspection import ClusterGalleryDisplay, SegmentationDisplay, SimplexDisplay

matplotlib.use("Agg")
GREEN, RED = (matplotlib.colors.to_rgb(name) for name in ("tab:green", "tab:red"))


@pytest.fixture
def pyplot():
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300], y[:300]


def test_points_are_convex_combinations(pyplot):
    proba = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0.25] * 4, [0.5, 0.5, 0, 0]]
    display = SimplexDisplay.from_predictions(proba)
    expected = [[0, 1], [1, 0], [0, -1], [-1, 0], [0, 0], [0.5, 0.5]]  # clockwise from the top
    np.testing.assert_allclose(display.points_, expected, atol=1e-12)
    drawn = {tuple(point) for c in display.ax_.collections for point in np.round(c.get_offsets(), 9) + 0.0}
    assert drawn == {tuple(map(float, point)) for point in expected}
    assert [text.get_text() for text in display.ax_.texts] == ["0", "1", "2", "3"]
    display.figure_.canvas.draw()


def test_points_turn_with_the_names_of_clusters(pyplot, global_random_seed):
    proba = np.random.default_rng(global_random_seed).dirichlet(np.full(5, 0.3), 30)
    points = SimplexDisplay.from_predictions(proba).points_
    turned = SimplexDisplay.from_predictions(np.roll(proba, 1, axis=1)).points_
    angle = -2 * np.pi / 5
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(turned, points @ rotation.T, atol=1e-12)
    assert (np.linalg.norm(points, axis=1) <= 1 + 1e-12).all()


def test_colours_are_of_classes_or_clusters(pyplot, digits):
    X, y = digits
    model = GaussianMixture(10, covariance_type="spherical", random_state=0).fit(X)
    display = SimplexDisplay.from_estimator(model, X, y=y, images=X, image_shape=(8, 8), s=3)
    assert [c.get_label() for c in display.ax_.collections] == [str(i) for i in range(10)]
    for i, collection in enumerate(display.ax_.collections):
        np.testing.assert_array_equal(collection.get_offsets(), display.points_[y == i])
        assert collection.get_sizes().tolist() == [3]
    best = model.predict(X)
    for i, image in enumerate(display.vertex_images):
        mean = X[best == i].mean(0).reshape(8, 8)
        np.testing.assert_allclose(image, (mean - mean.min()) / np.ptp(mean))
    display.figure_.canvas.draw()
    only = SimplexDisplay.from_predictions(torch.eye(12)[[7, 3]], images=np.zeros((2, 3, 3, 3)))
    colors = [c.get_facecolor()[0, :3] for c in only.ax_.collections]
    np.testing.assert_allclose(colors, np.array(matplotlib.colormaps["tab20"].colors)[[3, 7]])
    assert [image is None for image in only.vertex_images] == [i not in (3, 7) for i in range(12)]
    only.figure_.canvas.draw()
    _, ax = pyplot.subplots()
    assert SimplexDisplay.from_predictions([[1.0]], ax=ax).points_.tolist() == [[0, 0]]


def test_animation_over_epochs(pyplot, tmp_path, global_random_seed):
    from PIL import Image

    rng = np.random.default_rng(global_random_seed)
    frames = [rng.dirichlet(np.full(3, a), 40) for a in (10, 1, 0.1, 0.01)]
    display = SimplexDisplay.animate(frames, tmp_path / "epochs.gif", y=np.arange(40) % 2, interval=100, dpi=40)
    with Image.open(tmp_path / "epochs.gif") as gif:
        assert gif.n_frames >= 4
        assert gif.size == (200, 200)
        images = []
        for i in range(4):
            gif.seek(i)
            images.append(np.asarray(gif.convert("L"), float))
            duration = gif.info["duration"]
    assert all(np.abs(a - b).max() > 50 for a, b in pairwise(images))
    assert duration >= 100
    np.testing.assert_allclose(display.points_, SimplexDisplay.from_predictions(frames[-1]).points_)
    assert display.ax_.get_title() == "epoch 3"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SimplexDisplay.from_predictions([0, 1]), "probabilities must be numbers"),
        (lambda: SimplexDisplay.from_predictions([[1, 0], [1, 1]]), "row 1 of probabilities"),
        (lambda: SimplexDisplay.from_predictions([[1, 0], [1.5, -0.5]]), "row 1 of probabilities"),
        (lambda: SimplexDisplay.from_predictions([[1, 0], [np.nan, 1]]), "row 1 of probabilities"),
        (lambda: SimplexDisplay.from_predictions([[1, 0]], y=[0, 1]), "y of shape"),
        (lambda: SimplexDisplay.from_predictions([[1, 0]], images=np.zeros((2, 3, 3))), "2 images, but 1 samples"),
        (lambda: SimplexDisplay.from_predictions([[1, 0]], images=np.zeros((1, 9))), "with image_shape"),
        (lambda: SimplexDisplay.animate([], "a.gif"), "frames has shapes"),
        (lambda: SimplexDisplay.animate([[[1, 0]], [[1]]], "a.gif"), "frames has shapes"),
        (lambda: SimplexDisplay.animate([[[1, 0]]], "a.gif", titles=[]), "there are 0 titles"),
        (lambda: SimplexDisplay.animate([[[1, 0]]], "a.gif", interval=1), "interval=.* is too short"),
        (lambda: ClusterGalleryDisplay.from_predictions([[[1]]], np.zeros((1, 3, 3))), "predictions has dtype"),
        (lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((2, 3, 3))), "there are 2 images"),
        (lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((1, 9))), "with image_shape"),
        (
            lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((1, 3, 3)), n_images=0),
            "n_images=0 is not valid",
        ),
        (lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((1, 3, 3)), y=[0, 1]), r"y has shape \(2,\)"),
        (lambda: segments(predictions=[]), "predictions is empty"),
        (lambda: segments(predictions=np.zeros((1, 2, 2))), "predictions contains dtype"),
        (lambda: segments(predictions=np.full((1, 2, 2), -1)), "from 0"),
        (lambda: segments(predictions=np.zeros((2, 2, 2), int)), "predictions has 2 label maps"),
        (lambda: segments(truth=np.zeros((1, 2, 3), int)), r"truth of image 0 has shape \(2, 3\)"),
        (lambda: segments(truth=np.full((1, 2, 2), 255), ignore_label=255), "no class other than"),
        (lambda: segments(match="best"), "match=.* is unknown"),
        (lambda: segments(images=np.zeros((1, 2, 2, 2))), r"images contains shape \(2, 2, 2\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def segments(**kwargs):
    blank = {"predictions": np.zeros((1, 2, 2), int), "images": np.zeros((1, 2, 2))}
    return SegmentationDisplay.from_predictions(**{**blank, **kwargs})


def test_gallery_is_in_the_order_of_certainty(pyplot, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    proba, images = rng.dirichlet(np.ones(3), 40), rng.random((40, 4, 5))
    display = ClusterGalleryDisplay.from_predictions(proba, images, n_images=4)
    image = np.asarray(display.ax_.images[0].get_array())
    for cluster, members in enumerate(display.members):
        own = [i for i in range(40) if proba[i].argmax() == cluster]
        assert members == sorted(own, key=lambda i: -proba[i, cluster])[:4]
        for column, i in enumerate(members):
            tile = image[5 * cluster : 5 * cluster + 4, 6 * column : 6 * column + 5]
            np.testing.assert_array_equal(tile, np.repeat(images[i][..., None], 3, axis=2))
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["0", "1", "2"]
    display.figure_.canvas.draw()


def test_gallery_with_frames(pyplot, digits):
    X, y = digits
    model = KMeans(12, random_state=0).fit(X)
    display = ClusterGalleryDisplay.from_estimator(model, X, image_shape=(8, 8), y=y, n_images=6, clusters=[3, 5])
    image, distances = np.asarray(display.ax_.images[0].get_array()), model.transform(X)
    framed = set()
    for row, cluster in enumerate([3, 5]):
        own = np.flatnonzero(model.labels_ == cluster)
        assert display.members[row] == own[np.argsort(distances[own, cluster], kind="stable")][:6].tolist()
        name = np.bincount(y[own]).argmax()
        assert display.names[row] == f"{cluster}: {name}"
        for column, i in enumerate(display.members[row]):
            tile = image[11 * row : 11 * row + 10, 11 * column : 11 * column + 10]
            np.testing.assert_allclose(tile[0, 0], GREEN if y[i] == name else RED, atol=0.005)
            np.testing.assert_allclose(tile[1:-1, 1:-1, 0], X[i].reshape(8, 8) / 16)
            framed.add(bool(y[i] == name))
    assert True in framed


def test_gallery_of_clusters_without_certainty(pyplot):
    images = np.random.default_rng(0).integers(256, size=(5, 3, 3, 1)).astype(np.uint8)
    display = ClusterGalleryDisplay.from_predictions([1, -1, 1, 1, -1], images, y=["a", "b", "a", "b", "b"], n_images=2)
    assert display.members == [[1, 4], [0, 2]]
    assert display.names == ["-1: b", "1: a"]
    assert_close(display.images, images[..., 0] / 255)
    empty = ClusterGalleryDisplay.from_predictions([0, 0], np.zeros((2, 3, 3, 3)), clusters=[0, 4], y=[1, 1])
    assert (empty.members, empty.names) == ([[0, 1], []], ["0: 1", "4"])


def test_segments_have_the_colours_of_their_classes(pyplot, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    sizes = [(4, 6), (5, 3)]
    truth = [rng.choice([3, 7, 9], size=size) for size in sizes]
    truth[0][0] = 255
    rename = {3: 2, 7: 0, 9: 1, 255: 1}
    predicted = [np.vectorize(rename.get)(labels) for labels in truth]
    images = [rng.random((*size, 3)) for size in sizes]
    model = SimpleNamespace(predict=lambda images: predicted)
    display = SegmentationDisplay.from_estimator(model, images, truth, ignore_label=255, class_names={3: "sky"})
    assert display.axes_.shape == (2, 3)
    for row, image in zip(display.axes_, images, strict=True):
        shown = [np.asarray(ax.images[0].get_array()) for ax in row]
        np.testing.assert_array_equal(shown[0], image)
        np.testing.assert_array_equal(shown[1], shown[2])
    assert (np.asarray(display.axes_[0, 1].images[0].get_array())[0] == 0).all()
    assert [text.get_text() for text in display.figure_.legends[0].get_texts()] == ["sky", "7", "9"]
    display.figure_.canvas.draw()


def test_more_segments_than_classes(pyplot):
    truth = np.array([[[0, 0, 0, 1, 1, 1]]])
    predicted = np.array([[[0, 0, 2, 1, 1, 3]]])
    images = np.zeros((1, 1, 6, 1), np.uint8)
    union = SegmentationDisplay.from_predictions(predicted, images, truth)
    np.testing.assert_array_equal(union.prediction_colors, union.truth_colors[[0, 1, 0, 1]])
    apart = SegmentationDisplay.from_predictions(predicted, images, truth, match="one-to-one")
    np.testing.assert_array_equal(apart.prediction_colors[:2], apart.truth_colors)
    assert len(np.unique(apart.prediction_colors, axis=0)) == 4
    figure = pyplot.figure()
    alone = SegmentationDisplay.from_predictions(torch.as_tensor(predicted), images, figure=figure, cmap="viridis")
    assert alone.axes_.shape == (1, 2)
    assert alone.figure_ is figure
    assert len(np.unique(alone.prediction_colors, axis=0)) == 4
