"""SpatialPooling against a loop and torch's adaptive pooling, for all kinds of input."""

import numpy as np
import pytest
import torch
from examples import saved_copies
from sklearn.pipeline import make_pipeline
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.pooling import SpatialPooling


@pytest.fixture
def maps(global_random_seed):
    return np.random.RandomState(global_random_seed).normal(size=(5, 7, 6, 3))


def _loop(maps, grids, order):
    """Cell by cell: a region of a grid goes from floor(i h / r) to ceil((i + 1) h / r)."""
    h, w, k = maps.shape[1:]
    out = []
    for image in maps:
        row = []
        for rows, columns in grids:
            for i in range(rows):
                for j in range(columns):
                    region = image[
                        int(np.floor(i * h / rows)) : int(np.ceil((i + 1) * h / rows)),
                        int(np.floor(j * w / columns)) : int(np.ceil((j + 1) * w / columns)),
                    ].reshape(-1, k)
                    if order == np.inf:
                        row += list(region.max(0))
                    elif order == 1:
                        row += list(region.mean(0))
                    else:
                        row += list((np.abs(region) ** order).mean(0) ** (1 / order))
        out.append(row)
    return np.array(out)


@pytest.mark.parametrize("order", [1, 2, 3.5, np.inf])
@pytest.mark.parametrize("grids", [[(2, 2)], [(1, 1), (2, 3), (4, 4)], [(7, 6)], [(9, 2)]])
def test_against_a_loop(maps, grids, order):
    pooled = SpatialPooling(grids, order=order).fit_transform(maps)
    np.testing.assert_allclose(pooled, _loop(maps, grids, order))


def test_against_adaptive_pooling(maps):
    x = torch.tensor(maps).permute(0, 3, 1, 2)
    for order, theirs in ((1, torch.nn.AdaptiveAvgPool2d), (np.inf, torch.nn.AdaptiveMaxPool2d)):
        expected = theirs((3, 4))(x).permute(0, 2, 3, 1).flatten(1)
        np.testing.assert_allclose(SpatialPooling([(3, 4)], order=order).fit_transform(maps), expected)


def test_a_grid_as_fine_as_the_map_flattens_it(maps):
    assert_close(SpatialPooling([(7, 6)]).fit_transform(maps), maps.reshape(5, -1))


def test_the_same_maps_in_other_clothes(maps, device):
    expected = SpatialPooling().fit_transform(maps)
    assert expected.shape == (5, 13 * 3)
    for X in (maps.reshape(5, -1), maps.reshape(5, 42, 3), DescriptorSets.from_bags(maps)):
        assert_close(SpatialPooling(map_shape=(7, 6)).fit_transform(X), expected)
    tensor = SpatialPooling().fit_transform(torch.tensor(maps, dtype=torch.float32, device=device))
    assert (tensor.dtype, tensor.device.type) == (torch.float32, device)
    np.testing.assert_allclose(tensor.cpu(), expected, atol=1e-6)
    whole = SpatialPooling(order=np.inf).fit_transform((maps * 100).astype(int))
    assert whole.dtype == np.float32
    square = maps[:, :6]
    assert_close(
        SpatialPooling().fit_transform(DescriptorSets.from_bags(square)), SpatialPooling().fit_transform(square)
    )


def test_parts_do_not_change_the_answer(maps, monkeypatch):
    expected = SpatialPooling(order=2).fit_transform(maps)
    monkeypatch.setattr("sklinvariant.pooling._spatial_pooling.CACHE_BYTES", 1)
    assert_close(SpatialPooling(order=2).fit_transform(maps), expected)


def test_moving_inside_a_region_changes_nothing(maps):
    """Pooling does not depend on the order of the cells of a region."""
    moved = maps.copy()
    moved[:, :3, :3] = maps[:, :3, :3][:, ::-1, ::-1]
    for order in (1, 2, np.inf):
        pooling = SpatialPooling([(2, 2)], order=order).fit(maps[:, :6])
        np.testing.assert_allclose(pooling.transform(moved[:, :6]), pooling.transform(maps[:, :6]))


def test_names_files_and_pipelines(maps, tmp_path):
    pooling = SpatialPooling([(2, 2)]).fit(maps)
    assert len(pooling.get_feature_names_out()) == 12
    frame = make_pipeline(SpatialPooling([(2, 2)])).set_output(transform="pandas").fit_transform(maps)
    assert list(frame.columns) == list(pooling.get_feature_names_out())
    for again in saved_copies(pooling, tmp_path / "model"):
        np.testing.assert_array_equal(again.transform(maps), pooling.transform(maps))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"grids": []}, "at least one grid"),
        ({"grids": [(2, 0)]}, "each of grids must be two positive integers"),
        ({"grids": [2]}, "each of grids must be two positive integers"),
        ({"order": 0.5}, "order"),
        ({"map_shape": (5, 5)}, "X has bags of 42 cells"),
        ({"map_shape": 5}, "map_shape"),
        ({}, "X has bags of 42 cells"),
    ],
)
def test_bad_parameters(maps, params, message):
    with pytest.raises(ValueError, match=message):
        SpatialPooling(**params).fit(maps.reshape(5, 42, 3))


def test_bad_maps(maps):
    with pytest.raises(ValueError, match="NaN"):
        SpatialPooling().fit(np.full_like(maps, np.nan))
    with pytest.raises(ValueError, match="X has bags of different sizes"):
        SpatialPooling().fit(DescriptorSets.from_bags([np.zeros((4, 2)), np.zeros((9, 2))]))
    with pytest.raises(ValueError, match="X has rows of 126 features"):
        SpatialPooling(map_shape=(4, 4)).fit(maps.reshape(5, -1))
    fitted = SpatialPooling().fit(maps)
    with pytest.raises(ValueError, match="X has maps of 6 features"):
        fitted.transform(maps.reshape(5, 7, 3, 6))
    with pytest.raises(ValueError, match="features"):
        fitted.transform(maps[:, :5])
