"""Group: the axioms, the matrices against those of the transforms, and the action on images and maps."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.networks import Group, rotation_matrices
from sklinvariant.transforms import Rotation

NAMES = ["C1", "C2", "C3", "C4", "C8", "D1", "D2", "D4", "D5", "D8"]


@pytest.mark.parametrize("name", NAMES)
def test_products_and_inverses_are_those_of_the_matrices(name):
    group = Group(name)
    for g in range(group.order):
        for h in range(group.order):
            product = group.matrices[group.products[g, h]]
            torch.testing.assert_close(group.matrices[g] @ group.matrices[h], product)
        torch.testing.assert_close(group.matrices[g] @ group.matrices[group.inverses[g]], torch.eye(3).double())
    assert len({tuple(matrix.flatten().round(decimals=6).tolist()) for matrix in group.matrices}) == group.order


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 16])
def test_rotations_are_those_of_transforms(n):
    rotation = Rotation(n_steps=n)
    assert_close(Group(f"C{n}").matrices, rotation.matrix(rotation.orbit()))
    assert_close(Group(f"C{n}").angles, rotation.orbit()[:, 0])


@pytest.mark.parametrize("size", [4, 5])
def test_images_are_moved_as_numpy_moves_them(size, global_random_seed):
    images = np.random.RandomState(global_random_seed).rand(2, 3, size, size)
    group = Group("D4")
    for m in range(2):
        for r in range(4):
            expected = np.rot90(images[..., ::-1] if m else images, r, (2, 3))
            moved = group.act(torch.tensor(images), 4 * m + r)
            np.testing.assert_array_equal(moved, expected)
    assert group.mirrored.tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize("name", ["C4", "D2", "D4"])
def test_actions_compose(name, global_random_seed):
    group = Group(name)
    maps = torch.rand(2, 3 * group.order, 5, 5, generator=torch.Generator().manual_seed(global_random_seed))
    for g in range(group.order):
        for h in range(group.order):
            once = group.act_on_maps(maps, group.products[g, h])
            assert torch.equal(group.act_on_maps(group.act_on_maps(maps, h), g), once)
    embedding = torch.rand(2, 3, group.order)
    moved = group.act_on_embedding(embedding, 1)
    for u in range(group.order):
        assert torch.equal(moved[:, :, group.products[1, u]], embedding[:, :, u])


@pytest.mark.parametrize("name", ["C0", "S4", "c4", "", 4, "C", "D-1", "C4 "])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="group must be"):
        Group(name)


def test_trivial():
    group = Group("trivial")
    assert (group.order, group.name, group.is_exact, group.needs_squares) == (1, "C1", True, False)
    assert [Group(name).is_exact for name in ("C4", "D4", "C8", "C3")] == [True, True, False, False]
    assert [Group(name).needs_squares for name in ("C2", "D2", "C4", "C3")] == [False, False, True, True]


def test_rotation_matrices_of_any_number_of_turns():
    turns = torch.tensor([-1, 0, 3, 250, 1 << 20])
    found = rotation_matrices(turns, 1000)
    angles = torch.deg2rad(turns.double() * 0.36)
    assert_close(found[:, 0, 0], angles.cos(), atol=1e-9)
    assert_close(found[:, 0, 1], angles.sin(), atol=1e-9)
    assert torch.equal(found[3, :2, :2], torch.tensor([[0, 1], [-1, 0]], dtype=torch.float64))
