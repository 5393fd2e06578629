"""Clusters of features: each tile is the filter that belongs there."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import NMF
from tolerance import assert_close

from sklinvariant.inspection import ClusterDisplay, PoolingRegionDisplay

H, W, K = 4, 5, 3


def shown(display):
    return np.asarray(display.ax_.images[0].get_array())


def labels(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def test_clusters_of_features(pyplot, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    filters = rng.normal(size=(6, 3, 2))
    weights = np.array([[0, 3, 0.2, 9, 1, 0], [5, 0, 0, 0, 0, 5]])
    pooling = SimpleNamespace(components_=weights)
    display = ClusterDisplay.from_estimator(pooling, filters, components=[0, 1])
    assert display.members == [[3, 1, 4], [0, 5]]  # 0.2 is below a tenth of 9
    image = shown(display)
    assert image.shape == (2 * 3 + 1, 3 * 2 + 2)
    np.testing.assert_allclose(image[:3, 3:5], 0.5 + filters[1] / np.abs(filters[1]).max() / 2)  # 0 is grey
    assert (image[4:, 6:] == 1).all()
    assert labels(display) == ["0", "1"]
    assert ClusterDisplay.from_estimator(pooling, filters, n_filters=2, threshold=0.5).members == [[3], [0, 5]]
    flat = ClusterDisplay.from_estimator(pooling, filters.reshape(6, 6), components=[0], image_shape=(3, 2))
    assert_close(shown(flat), image[:3])


def test_clusters_of_feature_maps_go_with_their_regions(pyplot, pooling):
    filters = np.random.RandomState(0).rand(K, 6, 6, 3)
    clusters = ClusterDisplay.from_estimator(pooling, filters, components=[0, 1, 2], threshold=0)
    assert clusters.members == [[2, 0], [0, 1, 2], []]
    assert shown(clusters).shape == (20, 20, 3)
    np.testing.assert_allclose(shown(clusters)[:6, :6], (filters[2] - filters[2].min()) / np.ptp(filters[2]))
    regions = PoolingRegionDisplay.from_estimator(pooling, (H, W), components=[0], n_maps=2).regions[0]
    for region, member in zip(regions, clusters.members[0], strict=True):
        np.testing.assert_array_equal(region, pooling.components_[0].reshape(H, W, K)[..., member])
    clusters.figure_.canvas.draw()


def test_of_a_fitted_estimator(pyplot):
    X = np.random.RandomState(0).rand(40, 8 * 8 * 2)
    model = NMF(5, max_iter=500, tol=1e-2).fit(X)
    grey = np.random.RandomState(0).rand(2, 5, 5, 1)
    assert shown(ClusterDisplay.from_estimator(model, grey)).ndim == 2


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros((7, 2, 2))), "filters has 7 filters"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros((3, 5))), "which image_shape"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros(3)), "filters has shape"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros((3, 4)), n_filters=0), "n_filters=.* is not valid"),
    ],
)
def test_bad_input(pooling, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(pooling)
