"""Transformations: sampled, enumerated, applied, inverted, composed; against scikit-image and scipy."""

import numpy as np
import pytest
from examples import GEOMETRIC_TRANSFORMS
from scipy import ndimage

from sklinvariant.transforms import Rotation, Shear, pixel_matrix, warp


@pytest.mark.parametrize("transform", GEOMETRIC_TRANSFORMS, ids=str)
@pytest.mark.parametrize("order", [0, 1])
def test_agrees_with_scikit_image_on_the_same_matrix(transform, order, images):
    skimage = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    params = transform.sample(5, 0)
    matrices = transform.matrix(params, images.shape[1:3])
    ours = warp(images, matrices, fill=0.25, interpolation=["nearest", "bilinear"][order])
    for image, matrix, answer in zip(images, matrices, ours, strict=True):
        inverse = skimage.AffineTransform(matrix=np.linalg.inv(pixel_matrix(matrix, image.shape[:2])))
        theirs = skimage.warp(image, inverse, order=order, mode="constant", cval=0.25)
        far = np.abs(answer - theirs).max(-1) > 1e-6
        assert far.mean() < (0.02 if order == 0 else 1e-9)  # nearest: ties fall to one or the other


def test_agrees_with_scipy_and_padding(images):
    matrix = (Rotation().matrix([[25.0]]) @ Shear().matrix([[10.0, 0]]))[0]
    back = np.linalg.inv(pixel_matrix(matrix, images.shape[1:3]))
    rows_first = back[:2, :2][::-1, ::-1]
    for fill, mode in (("edge", "nearest"), ("reflect", "reflect"), (0.5, "grid-constant")):
        theirs = ndimage.affine_transform(
            images[0, ..., 0], rows_first, back[:2, 2][::-1], order=1, mode=mode, cval=0.5
        )
        np.testing.assert_allclose(warp(images[:1, ..., 0], matrix, fill=fill)[0], theirs, atol=1e-6)


@pytest.mark.parametrize("transform", GEOMETRIC_TRANSFORMS, ids=str)
def test_the_inverse_undoes(transform, images):
    params = transform.sample(5, 1)
    there = transform.apply(images, params)
    seen = transform.invert(transform.apply(np.ones_like(images), params), params)[..., 0] > 1 - 1e-9
    assert seen.any()
    matrices = transform.matrix(params, images.shape[1:3])
    np.testing.assert_allclose(
        np.linalg.inv(matrices.numpy()) @ matrices.numpy(), np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-12
    )
    assert np.abs(transform.invert(there, params) - images)[seen].max() < 0.06


def test_fill_by_the_mean_pixel(images):
    corner = Rotation(fill="mean").apply(images, [45])[:, 0, 0]
    np.testing.assert_allclose(corner, images.mean((1, 2)), atol=1e-12)
    np.testing.assert_allclose(Rotation(fill=(0.1, 0.2, 0.3)).apply(images, [45])[0, 0, 0], (0.1, 0.2, 0.3))
