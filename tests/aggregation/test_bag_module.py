"""`BagModule`, which gives encoders bags of equal size."""

import torch

from sklinvariant.aggregation._bag_module import BagModule


def test_maps_are_bags_of_cells():
    maps = torch.arange(24.0).reshape(2, 2, 3, 2)
    module = BagModule(lambda bags: bags.values.sum(1))
    assert torch.equal(module(maps), module(maps.reshape(2, 6, 2)))
    assert module(maps).shape == (2, 2)


def test_the_assignment_is_passed_on():
    assert BagModule(lambda bags: bags.hard, hard=True)(torch.zeros(1, 1, 1))
