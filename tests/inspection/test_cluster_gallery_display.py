"""The gallery of clusters: order, frames, and estimators without certainties."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from tolerance import assert_close

from sklinvariant.inspection import ClusterGalleryDisplay
from sklinvariant.inspection._palette import RIGHT, WRONG

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")

GREEN, RED = (matplotlib.colors.to_rgb(name) for name in (RIGHT, WRONG))


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
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["cluster 0", "cluster 1", "cluster 2"]
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
        assert display.names[row] == f"cluster {cluster} (class {name})"
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
    assert display.names == ["cluster -1 (class b)", "cluster 1 (class a)"]
    assert_close(display.images, images[..., 0] / 255)
    empty = ClusterGalleryDisplay.from_predictions([0, 0], np.zeros((2, 3, 3, 3)), clusters=[0, 4], y=[1, 1])
    assert (empty.members, empty.names) == ([[0, 1], []], ["cluster 0 (class 1)", "cluster 4"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClusterGalleryDisplay.from_predictions([[[1]]], np.zeros((1, 3, 3))), "predictions has dtype"),
        (lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((2, 3, 3))), "there are 2 images"),
        (lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((1, 9))), "with image_shape"),
        (
            lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((1, 3, 3)), n_images=0),
            "n_images=0 is not valid",
        ),
        (lambda: ClusterGalleryDisplay.from_predictions([1], np.zeros((1, 3, 3)), y=[0, 1]), r"y has shape \(2,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
