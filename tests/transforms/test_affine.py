"""Rotation, scale, translation, flip, shear and crop: directions, groups, orbits."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.transforms import Compose, Crop, Flip, Rotation, Scale, Shear, Translation


def test_rotation_is_counter_clockwise():
    image = np.arange(16.0).reshape(1, 4, 4) / 16
    np.testing.assert_array_equal(Rotation().apply(image, [90]), np.rot90(image, axes=(1, 2)))
    np.testing.assert_array_equal(Rotation().apply(image, [-90]), np.rot90(image, -1, axes=(1, 2)))


def test_directions():
    image = np.zeros((1, 5, 5))
    image[0, 2, 2] = 1
    assert Translation().apply(image, [0.2, 0.4])[0, 3, 4] == pytest.approx(1)
    assert Crop().apply(image, [0.5, 0.5, 0.2, 0.2]).min() > 0.2
    # the middle pixel stays, the row above leans to the right
    image[0, 1, 2] = 1
    leaning = Shear().apply(image, [45, 0])
    assert leaning[0, 1, 3] == pytest.approx(1)
    assert leaning[0, 2, 2] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(7, 7), (8, 8)])
def test_finite_groups_permute_pixels(dtype, size, global_random_seed):
    images = np.random.RandomState(global_random_seed).randint(255, size=(8, *size)).astype(dtype)
    group = Compose([Flip(), Rotation(n_steps=4)])
    elements = group.orbit()
    assert len(elements) == 8
    views = group.apply(images[:1].repeat(8, 0), elements)
    assert views.dtype == dtype
    assert len({view.tobytes() for view in views}) == 8
    np.testing.assert_array_equal(np.sort(views.reshape(8, -1)), np.sort(images[:1].reshape(1, -1)).repeat(8, 0))
    np.testing.assert_array_equal(group.invert(group.apply(images, elements), elements), images)
    # closed: any element after any other is an element
    matrices = group.matrix(elements).numpy()
    products = (matrices[:, None] @ matrices).reshape(-1, 9)
    assert {tuple(row) for row in products + 0.0} == {tuple(row) for row in matrices.reshape(-1, 9) + 0.0}


def test_rotations_close_under_the_group():
    matrices = Rotation(n_steps=36).matrix(Rotation(n_steps=36).orbit()).numpy()
    products = (matrices[:, None] @ matrices).reshape(-1, 9)
    distance = np.abs(products[:, None] - matrices.reshape(1, -1, 9)).max(-1).min(1)
    assert distance.max() < 1e-12


def test_crops_show_nothing_but_the_image():
    """Also at the border, where an enlarged pixel extends over it by half of its size."""
    white = np.ones((200, 9, 12))
    for crop in (Crop(), Compose([Flip(), Crop()])):
        np.testing.assert_allclose(crop.apply(white, crop.sample(200, 0)), 1, rtol=1e-12)


def test_even_orbits():
    assert Rotation().orbit().shape == (36, 1)
    assert_close(Rotation(30).orbit(3)[:, 0], [-30, 0, 30])
    assert Scale().orbit().shape == (10, 1)
    assert_close(Translation(0.5).orbit(9).unique(), [-0.5, 0, 0.5])
    boxes = Crop((0.5, 0.5), ratio=(1, 1)).orbit(16)
    np.testing.assert_allclose(boxes[:, 2:], 0.5**0.5)
    assert len(boxes.unique(dim=0)) == 16
    assert {tuple(row) for row in Flip("both").sample(50, 0).tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert set(Rotation(n_steps=4).sample(50, 0)[:, 0].tolist()) == {0, 90, 180, 270}
