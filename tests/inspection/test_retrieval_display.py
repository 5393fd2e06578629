"""Queries and their neighbours: frames, missing neighbours, grey images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer

from sklinvariant.inspection import RetrievalDisplay
from sklinvariant.inspection._palette import RIGHT, WRONG
from sklinvariant.neighbors import HammingNeighbors

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")

GREEN, RED = (matplotlib.colors.to_rgba(name) for name in (RIGHT, WRONG))


@pytest.fixture
def digits():
    return load_digits(return_X_y=True)


def frame(ax):
    return ax.spines["left"].get_edgecolor()


@pytest.mark.parametrize(
    "model",
    [NearestNeighbors(), make_pipeline(Binarizer(threshold=7), HammingNeighbors()), make_pipeline(NearestNeighbors())],
)
def test_neighbours_are_framed(pyplot, digits, model):
    X, y = digits
    model.fit(X[:300])
    display = RetrievalDisplay.from_estimator(
        model, X[300:310], X[300:310], X[:300], y=y[300:310], y_database=y[:300], n_neighbors=6, image_shape=(8, 8)
    )
    queries = model[:-1].transform(X[300:310]) if hasattr(model, "steps") and len(model) > 1 else X[300:310]
    last = model[-1] if hasattr(model, "steps") else model
    rows = last.kneighbors(queries, 6, return_distance=False)
    assert display.axes_.shape == (10, 7)
    seen = set()
    for i in range(10):
        np.testing.assert_array_equal(display.axes_[i, 0].images[0].get_array(), X[300 + i].reshape(8, 8))
        for j, row in enumerate(rows[i]):
            np.testing.assert_array_equal(display.axes_[i, j + 1].images[0].get_array(), X[row].reshape(8, 8))
            assert frame(display.axes_[i, j + 1]) == (GREEN if y[row] == y[300 + i] else RED)
            seen.add(frame(display.axes_[i, j + 1]))
    assert seen == {GREEN, RED}
    display.figure_.canvas.draw()


def test_rankings_of_unequal_length(pyplot):
    images = np.random.RandomState(0).rand(4, 5, 6, 3)
    display = RetrievalDisplay.from_predictions([[2, 1], [3, -1]], images[:2], images, distances=[[0.5, 2], [1, -1]])
    titles = [[ax.get_title() for ax in row] for row in display.axes_]
    assert titles == [["query", "0.5", "2"], ["", "1", ""]]
    assert not display.axes_[1, 2].axison
    assert not display.axes_[1, 1].spines["left"].get_visible()
    np.testing.assert_array_equal(display.axes_[1, 1].images[0].get_array(), images[3])
    figure = pyplot.figure()
    assert display.plot(figure, cmap="viridis").figure_ is figure


def test_grey_images_with_an_axis_of_channels(pyplot):
    images = np.random.RandomState(0).rand(2, 5, 6, 1)
    display = RetrievalDisplay.from_predictions([[1]], images[:1], images)
    assert display.axes_[0, 0].images[0].get_array().shape == (5, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_images": np.zeros((3, 2, 2))}, "there are 3 query_images"),
        ({"y": [0]}, "only one of y and y_database"),
        ({"y": [0, 1], "y_database": [0, 1]}, "y has 2 labels"),
        ({"y": [0], "y_database": [0]}, "y_database has 1 labels"),
        ({"ranking": [[1.0]]}, "ranking has dtype"),
        ({"ranking": [1]}, "ranking has dtype"),
        ({"ranking": np.zeros((0, 1), int), "query_images": []}, "ranking has dtype"),
        ({"ranking": [[2]]}, "ranking contains row 2"),
    ],
)
def test_bad_input(change, message):
    images = np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match=message):
        RetrievalDisplay.from_predictions(
            **{"ranking": [[1]], "query_images": images[:1], "database_images": images, **change}
        )
