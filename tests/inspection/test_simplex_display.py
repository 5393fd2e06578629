"""Points on the simplex: convex combinations, colours, the images at the vertices, animation, bad input."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sklinvariant.inspection import SimplexDisplay, palette


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
    (dots,) = display.ax_.collections
    assert dots.get_sizes().tolist() == [3]
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [str(i) for i in range(10)]
    for i, color in enumerate(palette(10)):
        of_class = (dots.get_facecolor()[:, :3] == color).all(1)
        np.testing.assert_array_equal(_sorted(dots.get_offsets()[of_class]), _sorted(display.points_[y == i]))
    best = model.predict(X)
    for i, image in enumerate(display.vertex_images):
        mean = X[best == i].mean(0).reshape(8, 8)
        np.testing.assert_allclose(image, (mean - mean.min()) / np.ptp(mean))
    display.figure_.canvas.draw()
    only = SimplexDisplay.from_predictions(torch.eye(12)[[7, 3]], images=np.zeros((2, 3, 3, 3)))
    (dots,) = only.ax_.collections
    drawn = dict(zip(dots.get_offsets()[:, 1].round(9).tolist(), dots.get_facecolor()[:, :3], strict=True))
    for i, y in ((3, 0), (7, -np.sqrt(3) / 2)):
        np.testing.assert_allclose(drawn[round(y, 9) + 0.0], palette(12)[i])
    assert [image is None for image in only.vertex_images] == [i not in (3, 7) for i in range(12)]
    only.figure_.canvas.draw()
    _, ax = pyplot.subplots()
    assert SimplexDisplay.from_predictions([[1.0]], ax=ax).points_.tolist() == [[0, 0]]


def _sorted(points):
    return np.array(sorted(np.asarray(points).tolist()))


def test_no_class_covers_the_others(pyplot):
    """Samples of two classes at one place are drawn in turns, also after they moved."""
    n, y = 2000, np.repeat([0, 1], 1000)
    display = SimplexDisplay.from_predictions(np.full((n, 2), 0.5), y=y)
    (dots,) = display.ax_.collections
    last = (dots.get_facecolor()[-200:, :3] == palette(2)[1]).all(1)
    assert 50 < last.sum() < 150
    proba = np.random.RandomState(0).dirichlet([1, 1], n)
    moved = SimplexDisplay.from_predictions(proba, y=y)
    display._move(moved.points_)
    np.testing.assert_array_equal(dots.get_offsets(), moved.ax_.collections[0].get_offsets())


def test_arrays_of_styles_belong_to_the_samples(pyplot, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    proba, sizes, colors = rng.dirichlet([1, 1, 1], 50), rng.permutation(50) + 1.0, rng.random((50, 4))
    display = SimplexDisplay.from_predictions(proba, s=sizes, color=colors, alpha=None, linewidth=list(sizes))
    (dots,) = display.ax_.collections
    drawn = np.column_stack([dots.get_offsets(), dots.get_sizes(), dots.get_linewidths(), dots.get_facecolor()])
    expected = np.column_stack([display.points_, sizes, sizes, colors])
    np.testing.assert_allclose(_sorted(drawn), _sorted(expected))


def test_one_colour_as_long_as_the_samples_are_many(pyplot):
    display = SimplexDisplay.from_predictions(np.eye(3), color=(1, 0, 0.5), marker=(5, 1, 0))
    (dots,) = display.ax_.collections
    np.testing.assert_array_equal(dots.get_facecolor()[:, :3], [[1, 0, 0.5]])


def test_legend_shows_what_is_drawn(pyplot):
    options = {"marker": "s", "color": ["red", "blue", "blue"], "s": [1, 2, 3]}
    display = SimplexDisplay.from_predictions(np.eye(3), y=["a", "b", "b"], **options)
    handles = display.ax_.get_legend().legend_handles
    (dots,) = display.ax_.collections
    assert [handle.get_facecolor().tolist() for handle in handles] == [[[1, 0, 0, 1]], [[0, 0, 1, 1]]]
    for handle in handles:
        assert handle.get_sizes().tolist() == [25]
        np.testing.assert_array_equal(handle.get_paths()[0].vertices, dots.get_paths()[0].vertices)
    display.figure_.canvas.draw()


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
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
