"""Pooling regions: each cell of the image is the weight that belongs there."""

import numpy as np
import pytest
from sklearn.decomposition import NMF
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tolerance import assert_close

from sklinvariant.inspection import PoolingRegionDisplay

H, W, K = 4, 5, 3


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
    np.testing.assert_array_equal(image[H + 1 :, :W], 0)  # pools nothing: 0, not a division by zero
    assert np.ma.getmaskarray(display.ax_.images[0].get_array())[H].all()  # a line without colour
    assert display.ax_.images[0].get_clim() == (0, 1)
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


def test_of_a_fitted_estimator(pyplot):
    X = np.random.RandomState(0).rand(40, 8 * 8 * 2)
    model = NMF(5, max_iter=500, tol=1e-2).fit(X)
    assert PoolingRegionDisplay.from_estimator(model, (8, 8), components=4).regions.shape == (4, 8, 8)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: PoolingRegionDisplay.from_estimator(m, (7, 7)), "which map_shape"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), components=[3]), "must lie in 0 to 2"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), components=0), "selects no components"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), components=[0.5]), "selects no components"),
        (lambda m: PoolingRegionDisplay.from_estimator(m, (H, W), n_maps=0), "n_maps=.* is not valid"),
    ],
)
def test_bad_input(pooling, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(pooling)
