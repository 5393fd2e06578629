"""Warping of images against scipy, and warps that only permute pixels."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from sklinvariant.ops import pixel_moves, resample


def _symmetry(transposed, flip_x, flip_y):
    linear = np.diag([(-1.0) ** flip_x, (-1.0) ** flip_y])
    linear = linear[::-1] if transposed else linear
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    return torch.as_tensor(matrix)[None]


@pytest.mark.parametrize("symmetry", list(itertools.product([0, 1], repeat=3)))
def test_symmetries_of_a_square_permute_the_pixels(symmetry):
    """Agrees with moving each pixel to the position that the matrix gives."""
    image, matrix = torch.arange(9).reshape(1, 1, 3, 3), _symmetry(*symmetry)
    assert int(pixel_moves(matrix, (3, 3), (3, 3))) >= 0
    expected = torch.empty_like(image)
    for row, column in itertools.product(range(3), repeat=2):
        x, y, _ = (matrix[0] @ torch.tensor([column - 1.0, row - 1.0, 1.0]).double()).round().long() + 1
        expected[0, 0, y, x] = image[0, 0, row, column]
    assert torch.equal(resample(image, matrix), expected)


def test_other_matrices_are_no_permutations():
    half = torch.eye(3).double()[None] * torch.tensor([0.5, 1, 1]).double()[:, None]
    assert int(pixel_moves(half, (3, 3), (3, 3))) == -1
    assert int(pixel_moves(_symmetry(1, 0, 0), (3, 4), (3, 4))) == -1  # not square
    assert int(pixel_moves(_symmetry(0, 0, 0), (3, 3), (6, 6))) == -1


@pytest.mark.parametrize(
    ("padding", "mode"), [("edge", "nearest"), ("reflect", "reflect"), ("constant", "grid-constant")]
)
def test_bilinear_warps_are_those_of_scipy(padding, mode, global_random_seed):
    image = ndimage.gaussian_filter(np.random.RandomState(global_random_seed).rand(11, 11), 1)
    angle = 0.4
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * 0.8
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    ours = resample(torch.as_tensor(image)[None, None], torch.as_tensor(matrix)[None], padding=padding, fill=0.5)
    back = np.linalg.inv(linear)[::-1, ::-1]  # from the result to the image, in (row, column)
    theirs = ndimage.affine_transform(
        image,
        back,
        offset=5 - back @ np.full(2, 5.0),
        order=1,
        mode=mode,
        cval=0.5,
    )
    np.testing.assert_allclose(ours[0, 0], theirs, atol=1e-6)


def test_another_size_shows_the_same_rectangle():
    ramp = torch.linspace(-1, 1, 16).double().expand(1, 1, 16, 16)
    small = resample(ramp, torch.eye(3).double()[None], (8, 8))
    torch.testing.assert_close(small, ramp.unflatten(-1, (8, 2)).mean(-1)[:, :, ::2])
