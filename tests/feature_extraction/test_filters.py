"""Patches, whitening and sliding filters."""

import numpy as np
import torch
from tolerance import assert_close

from sklinvariant.accumulate import Blocks, measure_moments
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.feature_extraction import ConvolutionalFeatures, DensePatches
from sklinvariant.feature_extraction._filters import take_patches, zca


def zca_of(rows, eps):
    return zca(measure_moments(Blocks(rows), axes=2), eps)


def test_patches_are_numbered_image_by_image(images):
    x = torch.tensor(images)
    every = take_patches(x, (5, 6), torch.arange(6 * 16 * 12))
    expected = DensePatches((5, 6), stride=1).fit_transform(images).values
    assert_close(every, expected)


def test_zca_whitens(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    rows = torch.tensor(rng.normal(size=(3000, 6)) @ rng.normal(size=(6, 6)) + 5)
    mean, whitening = zca_of(rows, 0.0)
    white = (rows - mean) @ whitening
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-8)
    np.testing.assert_allclose(whitening, whitening.T, atol=1e-8)
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    softened = np.linalg.eigvalsh(zca_of(rows, 0.5)[1].numpy())
    np.testing.assert_allclose(np.sort(softened), np.sort((values + 0.5 * values.mean()) ** -0.5))


def test_zca_of_rows_without_variance():
    mean, whitening = zca_of(torch.ones(5, 3), 0.1)
    assert_close(mean, np.ones(3))
    assert_close(whitening, np.eye(3))
    flat = torch.tensor(np.random.RandomState(0).rand(9, 3) * [1, 1, 0])
    assert torch.isfinite(zca_of(flat, 0.0)[1]).all()


def test_filters_are_slid(images):
    """The displayed filters are those that are applied: a weighted sum over the pixels of a patch."""
    features = ConvolutionalFeatures(
        SparseAutoencoder(4, max_epochs=1), patch_size=5, normalize=None, random_state=0
    ).fit(images)
    filters, intercept = features.filters_, features.extractor_.intercept_
    assert filters.shape == (4, 5, 5, 3)
    patch = images[3, 2:7, 4:9]
    inside = (filters * patch).sum((1, 2, 3)) - (filters.reshape(4, -1) @ features.mean_) + intercept
    np.testing.assert_allclose(features.transform(images)[3, 2, 4], 1 / (1 + np.exp(-inside)), atol=1e-5)
