"""Stages, and moments over their groups, against equation 4 on plain arrays."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.pooling._nested._nested_moments import nested_moments, orbit_moments, parse_stages

STAGES = [("translation", 1), ("scale", [2, 1], "l2"), ("rotation", np.inf)]


def test_stages():
    assert parse_stages(STAGES) == [
        ("translation", (1.0,), False),
        ("scale", (2.0, 1.0), True),
        ("rotation", (np.inf,), False),
    ]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([("scale",)], r"contains \('scale',\), but \(group, order\)"),
        ([("scale", 0.5)], "orders of at least 1"),
        ([("turn", 1)], r"group 'turn', but only \['region', 'scale', 'translation'\] are known"),
        ([("scale", 1), ("scale", 2)], "each group may occur only once"),
        ([("region", 1), ("translation", 1)], 'requires "translation" before it'),
    ],
)
def test_bad_stages(stages, message):
    with pytest.raises(ValueError, match=message):
        parse_stages(stages, {"translation", "region", "scale"})


def test_moments_of_maps_and_of_orbits(global_random_seed):
    """Two scales inside of three rotations, of maps of 4 × 5 cells."""
    views = np.random.RandomState(global_random_seed).rand(3, 2, 6, 4, 5, 7)  # rotations, scales, images, h, w, d
    cells = views.mean((3, 4))
    scales = np.concatenate([np.sqrt((cells**2).mean(1)), cells.mean(1)], -1)
    expected = (scales / np.linalg.norm(scales, axis=-1, keepdims=True)).max(0)
    stages, maps = parse_stages(STAGES), iter(torch.tensor(views).flatten(0, 1))
    assert_close(nested_moments(stages, lambda: next(maps), {"scale": 2, "rotation": 3}), expected)
    orbits = torch.tensor(views).flatten(3, 4).permute(2, 3, 1, 0, 4)  # images, cells, scales, rotations, d
    assert_close(orbit_moments(stages, orbits), expected)
