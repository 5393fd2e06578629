"""Which input all extractors read as images, and the errors for all other input."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from tolerance import assert_close

from sklinvariant.feature_extraction import BackbonePatches, DensePatches, LocalDescriptors


@pytest.fixture
def images(global_random_seed):
    return np.random.RandomState(global_random_seed).randint(256, size=(3, 10, 12)).astype(np.uint8)


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x.astype(np.int64),
        lambda x: torch.as_tensor(x.astype(np.int32)),
        lambda x: x[..., None],
        lambda x: list(x),
        lambda x: x.tolist(),
        lambda x: [torch.as_tensor(image) for image in x],
        lambda x: np.asfortranarray(x),
        lambda x: x / np.float32(255),
        lambda x: torch.as_tensor((x / np.float32(255)), dtype=torch.float32).requires_grad_(),
    ],
    ids=["int64", "int32 tensor", "channel", "list", "nested", "tensors", "fortran", "float32", "gradient"],
)
def test_the_same_images_in_other_clothes(images, kind):
    other = DensePatches(3).fit_transform(kind(images))
    assert_close(other, DensePatches(3).fit_transform(images))
    assert not getattr(other.values, "requires_grad", False)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_flat_rows_are_the_images(images, kind, dtype):
    images = images / 255 if dtype is np.float64 else images.astype(dtype)
    flat = DensePatches(3, image_shape=(10, 12)).fit_transform(kind(images.reshape(3, -1)))
    assert_close(flat, DensePatches(3).fit_transform(kind(images)))
    assert isinstance(flat.values, torch.Tensor) is (kind is torch.as_tensor)


def test_values_are_a_copy(images):
    images = images / 255
    bags = DensePatches(1, stride=1, normalize="contrast").fit_transform(images)
    assert not np.shares_memory(bags.values, images)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((2, 9, 9), "a"), "real numbers"),
        (np.zeros((2, 9, 9), complex), "real numbers"),
        (np.zeros((2, 9, 9), bool), "real numbers"),
        (np.zeros((2, 9, 9), object), "real numbers"),
        (torch.zeros(2, 9, 9, dtype=torch.complex64), "real numbers"),
        (np.zeros((0, 9, 9)), "0 sample"),
        (np.zeros((2, 9, 0)), "0 feature"),
        (np.array([np.zeros((9, 9)), np.full((9, 9), 256)]).astype(int), "image 1 has whole numbers from 256"),
        (torch.full((2, 9, 9), -1), "image 0 has whole numbers from -1"),
        (np.where(np.arange(162).reshape(2, 9, 9) == 100, np.inf, 0), "image 1 contains NaN or infinity"),
        ([np.zeros((9, 9)), None], "image 1"),
        ([np.zeros((9, 9)), np.zeros(9)], "image 1 must be of shape"),
        ([np.zeros((9, 9)), np.zeros((9, 0))], "image 1 must be of shape"),
        ([np.zeros((9, 9)), np.full((9, 9), "a")], "image 1 must hold real numbers"),
        ([np.zeros((9, 9)), [[0, 1], [2]]], "lists in image 1 differ in length"),
        (torch.zeros(9), "flat rows"),
        (np.zeros((1, 2, 3, 4, 5)), "dim 5"),
    ],
)
@pytest.mark.parametrize("extractor", [DensePatches(1), LocalDescriptors(step=4), BackbonePatches(torch.nn.Identity())])
def test_errors(extractor, X, message):
    with pytest.raises(ValueError, match=message):
        extractor.fit(X)
    assert not hasattr(extractor, "n_features_in_")


@pytest.mark.parametrize("shape", [(3,), (3, "a"), (0, 6), (2, 2)])
def test_image_shape_is_checked(shape):
    with pytest.raises(ValueError, match="image_shape"):
        DensePatches(1, image_shape=shape).fit(np.zeros((2, 6)))


@pytest.mark.parametrize("size", [(2,), (0, 2), ("a", 2)])
def test_patch_size_is_checked(images, size):
    with pytest.raises(ValueError, match=r"patch_size=.* is not valid"):
        DensePatches(size).fit(images)


def test_a_failed_fit_changes_nothing(images):
    patches = DensePatches(8).fit(images)
    names = patches.get_feature_names_out()
    with pytest.raises(ValueError, match="larger than the images"):
        patches.fit(images[:, :5, :5])
    assert patches.n_features_in_ == 120
    np.testing.assert_array_equal(patches.get_feature_names_out(), names)
    assert patches.transform(images).shape == (3, 6, 64)


def test_other_images_than_fitted(images):
    patches = DensePatches(2).fit(images)
    assert len(patches.transform(images[:, :5])[0]) < len(patches.transform(images)[0])  # any size is accepted
    with pytest.raises(ValueError, match="4 channels, but DensePatches was fitted on images of 1"):
        patches.transform(images.reshape(3, 5, 6, 4))
    with pytest.raises(NotFittedError):
        DensePatches(2).get_feature_names_out()
