"""Generalised means of bags, compared with numpy bag by bag."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant import DescriptorSets, GeMPooling


def reference(bag, order):
    if order == 1:
        return bag.mean(0)
    return bag.max(0) if order == np.inf else (np.abs(bag) ** order).mean(0) ** (1 / order)


@pytest.fixture
def bags(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return [rng.normal(size=(m, 3)) for m in (5, 1, 40, 7, 7)]


@pytest.mark.parametrize("chunk_size", [None, 1, 13])
@pytest.mark.parametrize("order", [1, 2, 3.0, 50, np.inf])
def test_each_bag_by_numpy(bags, order, chunk_size):
    z = GeMPooling(order, chunk_size=chunk_size).fit_transform(bags)
    assert_close(z, np.stack([reference(bag, order) for bag in bags]))


@pytest.mark.parametrize("order", [1, 3.0, np.inf])
def test_an_empty_bag_gives_zeros(bags, order):
    sets = DescriptorSets.from_bags([bags[0], np.zeros((0, 3)), bags[1]])
    z = GeMPooling(order).fit_transform(sets)
    assert_close(z, np.stack([reference(bags[0], order), np.zeros(3), reference(bags[1], order)]))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_high_orders_do_not_overflow(bags, scale):
    expected = GeMPooling(8).fit_transform(bags) * scale
    assert_close(GeMPooling(8).fit_transform([(bag * scale).astype(np.float32) for bag in bags]), expected, rtol=1e-4)


def test_feature_maps_and_tensors():
    maps = torch.rand(4, 5, 5, 2, generator=torch.Generator().manual_seed(0))
    z = GeMPooling(2).fit_transform(maps)
    assert isinstance(z, torch.Tensor)
    assert_close(z, maps.square().mean((1, 2)).sqrt())
