"""Reading rows and images of equal size, which are told apart, and pairs of them."""

import numpy as np
import pytest
import torch

from sklinvariant.cluster import IICClusterer
from sklinvariant.cluster._sample_reader import PAIRS, SAMPLES, samples_of

IMAGES = np.arange(5 * 6 * 7 * 3, dtype=np.uint8).reshape(5, 6, 7, 3)


def _read(X, reader=SAMPLES, **parameters):
    return samples_of(reader.read(IICClusterer(**parameters), X, reset=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_stay_as_they_are(dtype):
    images = IMAGES.astype(dtype)
    for X in (images, torch.from_numpy(images), list(images)):
        read = _read(X)
        assert read.dtype == torch.from_numpy(images).dtype
        np.testing.assert_array_equal(read, images)
    assert _read(images).data_ptr() == images.__array_interface__["data"][0]  # not a copy


def test_rows_are_features_unless_they_have_the_shape_of_images():
    rows = IMAGES.reshape(5, -1)
    assert _read(rows).dtype == torch.float32
    np.testing.assert_array_equal(_read(rows), rows)
    np.testing.assert_array_equal(_read(rows, image_shape=(6, 7, 3)), IMAGES)


def test_pairs_follow_each_other():
    pairs = np.stack([IMAGES, 255 - IMAGES], axis=1)
    np.testing.assert_array_equal(_read(pairs, PAIRS), pairs.reshape(10, 6, 7, 3))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (IMAGES.reshape(5, -1), "fitted on images, but X contains rows"),
        (IMAGES[:, :3], "63 features, but IICClusterer is expecting 126"),
        (np.stack([IMAGES, IMAGES], 1), "contains pairs"),
    ],
)
def test_samples_of_another_kind_than_in_fit_are_refused(X, message):
    fitted = IICClusterer()
    fitted._state, fitted.n_features_in_ = {"sample_shape": [6, 7, 3], "n_channels": 3}, 126
    with pytest.raises(ValueError, match=message):
        SAMPLES.read(fitted, X)
