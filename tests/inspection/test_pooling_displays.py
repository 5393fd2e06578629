"""Pooling regions and clusters: each place of the image is the weight, or the filter, that belongs there."""

from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from sklearn.decomposition import NMF
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tolerance import assert_close

from sklinvariant.inspection import ClusterDisplay, CodebookDisplay, PoolingRegionDisplay

matplotlib.use("Agg")
H, W, K = 4, 5, 3


@pytest.fixture
def pyplot():
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def pooling():
    """Component 0 pools the upper left on map 2 and a little on map 0; 1 pools the last row of all maps; 2 nothing."""
    weights = np.zeros((3, H, W, K))
    weights[0, :2, :2, 2] = 1.0
    weights[0, :1, :1, 0] = 0.5
    weights[1, 3] = 2.0
    return SimpleNamespace(components_=weights.reshape(3, -1))


def shown(display):
    return np.asarray(display.ax_.images[0].get_array())


def labels(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def test_regions_summed_over_maps(pyplot, pooling):
    display = PoolingRegionDisplay.from_estimator(pooling, (H, W), components=[0, 1, 2])
    assert_close(display.regions[0], pooling.components_[0].reshape(H, W, K).sum(-1))
    image = shown(display)
    assert image.shape == (2 * H + 1, 2 * W + 1)
    np.testing.assert_allclose(image[:H, :W], display.regions[0] / 1.5)
    assert_close(image[:H, W + 1 :], display.regions[1] / 6)
    np.testing.assert_array_equal(image[H + 1 :, :W], 0)  # pools nothing: grey, not a division by zero
    assert (image[H] == -1).all()  # a black line
    assert display.ax_.images[0].get_clim() == (-1, 1)
    assert labels(display) == []
    display.figure_.canvas.draw()


def test_regions_on_the_strongest_maps(pyplot, pooling):
    display = PoolingRegionDisplay.from_estimator(pooling, (H, W), components=[1, 0], n_maps=2)
    maps = pooling.components_.reshape(3, H, W, K)
    assert display.regions.shape == (2, 2, H, W)
    np.testing.assert_array_equal(display.regions[1], [maps[0, :, :, 2], maps[0, :, :, 0]])
    image = shown(display)
    assert_close(image[H + 1 :, W + 1 :], maps[0, :, :, 0])  # one scale a component
    assert labels(display) == ["1", "0"]
    assert PoolingRegionDisplay.from_estimator(pooling, (H, W), n_maps=9).regions.shape == (3, 3, H, W)


def test_the_largest_components_of_a_pipeline_on_axes_of_ones_own(pyplot, pooling):
    _, axes = pyplot.subplots(2)
    model = make_pipeline(FunctionTransformer(), FunctionTransformer())
    model[-1].components_ = pooling.components_
    display = PoolingRegionDisplay.from_estimator(model, (H, W), components=2, ax=axes[1], cmap="viridis")
    assert display.names == ["1", "0"]
    assert display.ax_ is axes[1]
    assert display.ax_.images[0].get_cmap().name == "viridis"


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
    flat = ClusterDisplay.from_estimator(pooling, filters.reshape(6, 6), components=[0], filter_shape=(3, 2))
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
    assert PoolingRegionDisplay.from_estimator(model, (8, 8), components=4).regions.shape == (4, 8, 8)
    grey = np.random.RandomState(0).rand(2, 5, 5, 1)
    assert shown(ClusterDisplay.from_estimator(model, grey)).ndim == 2


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: PoolingRegionDisplay.from_estimator(m, (7, 7)), "which map_shape"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), components=[3]), "must lie in 0 to 2"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), components=0), "selects no components"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), components=[0.5]), "selects no components"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), n_maps=0), "n_maps=.* is not valid"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros((7, 2, 2))), "filters has 7 filters"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros((3, 5))), "which filter_shape"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros(3)), "filters has shape"),
        (lambda m: ClusterDisplay.from_estimator(m, np.zeros((3, 4)), n_filters=0), "n_filters=.* is not valid"),
    ],
)
def test_bad_input(pooling, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(pooling)


def test_codewords_are_tiles_over_their_own_range(pyplot):
    codebook = np.arange(20.0).reshape(5, 4)
    codebook[4] = 7
    image = shown(CodebookDisplay(codebook, (2, 2)).plot())
    assert image.shape == (5, 8)
    np.testing.assert_allclose(image[:2, 3:5].ravel(), [0, 1 / 3, 2 / 3, 1])
    assert (image[3:, 3:5] == 0).all()
    assert (image[3:, 6:] == 1).all()
