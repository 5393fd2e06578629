"""DensePatches: all patches, in order; stride, shape, normalisation."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.image import extract_patches_2d
from tolerance import assert_close

from sklinvariant.feature_extraction import DensePatches


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(3, 12, 10, 2)


def test_dense_patches_are_all_patches(images):
    bags = DensePatches(4, stride=1).fit_transform(images)
    for image, bag in zip(images, bags, strict=True):
        np.testing.assert_array_equal(bag, extract_patches_2d(image, (4, 4)).reshape(len(bag), -1))


def test_dense_patches_stride_shape_and_kind(images):
    assert DensePatches((3, 5), stride=2).fit_transform(images).shape == (3, 5 * 3, 30)
    flat = DensePatches(4, image_shape=(12, 10, 2)).fit_transform(images.reshape(3, -1))
    assert_close(flat, DensePatches(4).fit_transform(images))
    tensor = DensePatches(4).fit_transform(torch.as_tensor(images))
    assert isinstance(tensor.values, torch.Tensor)
    integers = DensePatches(4).fit_transform((images * 255).round().astype(np.uint8))
    np.testing.assert_allclose(integers.values, flat.values, atol=1 / 255)
    assert integers.dtype == np.float32


@pytest.mark.parametrize("normalize", ["contrast", "l2"])
def test_dense_patches_normalized(images, normalize):
    values = DensePatches(4, normalize=normalize).fit_transform(images).values
    if normalize == "l2":
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1)
    else:
        np.testing.assert_allclose(values.mean(1), 0, atol=1e-12)
    assert np.isfinite(DensePatches(4, normalize=normalize).fit_transform(np.zeros((1, 8, 8))).values).all()


def test_errors_of_images(images):
    with pytest.raises(ValueError, match="patch_size=20 is larger than the images, 12 x 10"):
        DensePatches(20).fit(images)
    images[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image 1 contains NaN"):
        DensePatches(4).fit(images)
    with pytest.raises(ValueError, match="differ in size"):
        DensePatches(4).fit([np.zeros((8, 8)), np.zeros((9, 8))])
    with pytest.raises(ValueError, match="image_shape"):
        DensePatches(4, image_shape=(5, 5)).fit(np.zeros((2, 24)))


def test_numbers_that_are_no_pixels_are_float32():
    X = np.random.RandomState(0).randint(0, 900, (6, 4))
    for rows, dtype in ((X, np.float32), (X.astype(np.float16), np.float32), (X / 3, np.float64)):
        assert DensePatches(1).fit_transform(rows).dtype == dtype
