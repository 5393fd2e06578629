"""DensePatches: all patches, in order; stride, shape, normalisation."""

import numpy as np
import pytest
import torch
from photographs import write_images
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
    with pytest.raises(ValueError, match=r"2 x 12 pixels\. For pairs .* pass the frames, X\.reshape\(-1, h, w\)"):
        DensePatches(6).fit(np.zeros((5, 2, 12, 12)))
    images[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image 1 contains NaN"):
        DensePatches(4).fit(images)
    with pytest.raises(ValueError, match="patch_size=9 is larger than image 1, 8 x 8"):
        DensePatches(9).fit_transform([np.zeros((9, 9)), np.zeros((8, 8))])
    with pytest.raises(ValueError, match="patch_size=9 is larger than image 0, 8 x 9"):
        DensePatches(9).fit([np.zeros((8, 9)), np.zeros((9, 9))])
    with pytest.raises(ValueError, match="image_shape"):
        DensePatches(4, image_shape=(5, 5)).fit(np.zeros((2, 24)))


def test_numbers_that_are_no_pixels_are_float32():
    X = np.random.RandomState(0).randint(0, 900, (6, 4))
    for rows, dtype in ((X, np.float32), (X.astype(np.float16), np.float32), (X / 3, np.float64)):
        assert DensePatches(1).fit_transform(rows).dtype == dtype


@pytest.mark.parametrize("normalize", ["contrast", None])
def test_images_of_different_sizes(images, normalize):
    different = [images[0], images[1][:7], (images[2, :, :5] * 255).astype(np.uint8)]
    patches = DensePatches(4, normalize=normalize)
    bags = patches.fit_transform(different)
    assert [len(bag) for bag in bags] == [5 * 4, 2 * 4, 5 * 1]
    assert bags.dtype == np.float64
    for bag, image in zip(bags, different, strict=True):
        assert_close(bag, patches.transform(image[None])[0])
    tensors = patches.transform([torch.as_tensor(image) for image in different])
    assert isinstance(tensors.values, torch.Tensor)
    assert_close(tensors.values, bags.values)


def test_images_in_files(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    folder = tmp_path / "photos"
    write_images(folder, 3)
    cv2.imwrite(str(folder / "small.png"), np.full((20, 30, 3), 7, np.uint8))
    bags = DensePatches(10, stride=10).fit_transform(str(folder))
    assert [len(bag) for bag in bags] == [16, 16, 16, 6]
    assert_close(bags[3], np.full((6, 300), 7 / 255, np.float32))
