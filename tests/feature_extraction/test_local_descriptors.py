"""Descriptors by OpenCV and scikit-image, against the two libraries called directly."""

import importlib

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.feature_extraction import LocalDescriptors

cv2 = pytest.importorskip("cv2")


@pytest.fixture
def photographs(global_random_seed):
    """Two smooth random images of different sizes, uint8."""
    rng = np.random.RandomState(global_random_seed)
    return [
        cv2.GaussianBlur(rng.randint(256, size=shape).astype(np.uint8), (0, 0), 2) for shape in [(96, 80), (64, 100)]
    ]


def test_dense_sift_is_opencv_s(photographs):
    bags = LocalDescriptors(step=8, size=24).fit_transform(photographs)
    for image, bag in zip(photographs, bags, strict=True):
        points = [
            cv2.KeyPoint(x, y, 4.0, 0.0) for y in range(4, image.shape[0], 8) for x in range(4, image.shape[1], 8)
        ]
        assert_close(bag, cv2.SIFT_create().compute(image, points)[1], atol=1)  # of 255, whole numbers


def test_size_is_what_a_descriptor_sees(photographs):
    """Only pixels inside the window matter (for SIFT it is half a cell larger, and blurred)."""
    image = photographs[0][:65, :65].copy()

    def centre(image):
        return LocalDescriptors(step=65, size=16).fit_transform([image])[0]

    far, near = image.copy(), image.copy()
    far[:8] = far[-8:] = far[:, :8] = far[:, -8:] = 0
    near[28:] = 0
    assert_close(centre(far), centre(image), atol=1)
    assert np.abs(centre(near) - centre(image)).max() > 10


def test_daisy_is_skimage_s(photographs):
    feature = pytest.importorskip("skimage.feature")
    bags = LocalDescriptors("daisy", step=8, size=20).fit_transform(photographs)
    for image, bag in zip(photographs, bags, strict=True):
        np.testing.assert_allclose(bag, feature.daisy(image, step=8, radius=10).reshape(-1, 200), atol=1e-6)


def test_rootsift_is_the_root_of_sift(photographs):
    sift, root = (
        LocalDescriptors(method, step=16).fit_transform(photographs).values for method in ("sift", "rootsift")
    )
    np.testing.assert_allclose(root**2, sift / sift.sum(1, keepdims=True), atol=1e-6)


def test_orb_gives_bits(photographs):
    photograph = np.kron(photographs[0][::5, ::5] // 8 % 2 * 255, np.ones((9, 9), np.uint8))  # with corners
    expected = cv2.ORB_create(40).detectAndCompute(photograph, None)[1]
    bags = LocalDescriptors("orb", max_keypoints=40).fit_transform([photograph])
    np.testing.assert_array_equal(bags[0].astype(np.uint8), np.unpackbits(expected, axis=1))
    assert LocalDescriptors("orb", step=8).fit_transform(photographs).sizes[0] == 12 * 10


@pytest.mark.parametrize("step", [None, 16])
def test_jobs_floats_colours_and_tensors_do_not_matter(photographs, step):
    expected = LocalDescriptors(step=step).fit_transform(photographs)
    assert len(expected.values)
    assert_close(LocalDescriptors(step=step, n_jobs=2).fit_transform(photographs), expected, atol=1)
    colours = [np.repeat(image[..., None] / 255, 3, axis=2) for image in photographs]
    assert_close(LocalDescriptors(step=step).fit_transform(colours), expected, atol=1)
    tensors = LocalDescriptors(step=step).fit_transform([torch.as_tensor(image) for image in photographs])
    assert isinstance(tensors.values, torch.Tensor)
    assert_close(tensors, expected, atol=1)


def test_key_points_are_bounded_and_bags_may_be_empty(photographs):
    bags = LocalDescriptors(max_keypoints=5).fit_transform([*photographs, np.zeros((50, 50)), np.zeros((2, 2))])
    assert bags.sizes.max() <= 5
    assert bags.sizes[2:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((9, 9), 200.0), "image 1 has floats from 200 to 200"),
        (np.zeros((9, 9, 2)), "image 1 has 2 channels"),
        (np.full((9, 9), np.nan), "image 1 contains NaN"),
    ],
)
def test_the_bad_image_is_named(photographs, bad, message):
    with pytest.raises(ValueError, match=message):
        LocalDescriptors(step=4).fit_transform([photographs[0], bad])


def test_a_missing_library_names_the_extra(photographs, monkeypatch):
    found = importlib.import_module

    def without(name, *args):
        if name == "cv2":
            raise ImportError(name)
        return found(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=r'cv2: pip install "sklinvariant\[image\]"'):
        LocalDescriptors().fit(photographs)


def _photograph():
    return np.add.outer(np.arange(128) ** 2 % 97, np.arange(160) ** 2 % 89).astype(np.uint8)


def test_sift_is_opencv_s():
    cv2 = pytest.importorskip("cv2")
    image = _photograph()
    _, expected = cv2.SIFT_create(500).detectAndCompute(image, None)
    bags = LocalDescriptors(n_jobs=2).fit_transform([image, image[:40], np.zeros((30, 30), np.uint8)])
    assert_close(bags[0], expected, atol=1)  # of 255, whole numbers
    assert bags.sizes[2] == 0  # nothing to see: an empty bag
    assert bags.shape == (3, None, 128)


@pytest.mark.parametrize(("method", "width"), [("sift", 128), ("rootsift", 128), ("orb", 256), ("daisy", 200)])
def test_local_descriptors_on_a_grid(method, width):
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    image = np.stack([_photograph()] * 3, axis=-1) / 255
    bags = LocalDescriptors(method, step=8).fit_transform(image[None])
    assert bags.shape[2] == width
    assert len(bags[0]) > 10
    assert np.isfinite(bags.values).all()


def test_a_bad_image_is_named():
    with pytest.raises(ValueError, match="image 1 contains NaN"):
        LocalDescriptors().fit([np.zeros((9, 9)), np.full((9, 9), np.nan)])
