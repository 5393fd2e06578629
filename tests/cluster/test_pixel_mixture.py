"""The mixture of colours from which segmentation starts: what it computes, and when it is used."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from tolerance import assert_close

from sklinvariant.cluster._pixel_mixture import PixelMixture, choose_mixture, pixel_features
from sklinvariant.metrics import clustering_accuracy


def _scenes(n, *, fixed, seed=0):
    """Images (n, 3, 24, 24) of a dark and a bright region of half the height, and their classes (n, 24, 24).

    The bright region is always above the other one (fixed) or at the side of a random line.
    """
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:24, :24] / 24 - 0.5
    truth = []
    for _ in range(n):
        angle = 0.0 if fixed else rng.uniform(0, 2 * np.pi)
        truth.append(np.cos(angle) * rows + np.sin(angle) * columns > 0)
    truth = np.stack(truth).astype(int)
    images = np.where(truth[:, None], 0.2, 0.6) * np.array([1, 0.8, 0.5])[:, None, None]
    return torch.from_numpy(images * rng.uniform(0.9, 1.1, images.shape)).float(), truth


def _chosen(images, k=2, **settings):
    settings = {"force": False} | settings
    return choose_mixture(list(images), k, 2, torch.Generator().manual_seed(0), **settings)


def _labels(mixture, images):
    return np.stack([mixture(image).argmax(0).numpy() for image in images])


@pytest.mark.parametrize("fixed", [False, True])
def test_regions_of_different_colours(fixed):
    images, truth = _scenes(8, fixed=fixed)
    mixture = _chosen(images)
    assert mixture.layout == fixed
    assert clustering_accuracy(truth, _labels(mixture, images)) > 0.99


def test_probabilities_are_those_of_the_mixture(monkeypatch):
    """The matrices give the posterior probabilities that scikit-learn computes."""
    fitted = []

    class Kept(GaussianMixture):
        def fit(self, X, y=None):
            fitted.append(self)
            return super().fit(X, y)

    monkeypatch.setattr("sklinvariant.cluster._pixel_mixture.GaussianMixture", Kept)
    images, _ = _scenes(4, fixed=True)
    mixture = _chosen(images.double())
    z = pixel_features(images[0].double(), mixture.low, mixture.high, layout=True)
    z = ((z - mixture.shift[:, None, None]) / mixture.scale[:, None, None]).flatten(1).T
    expected = fitted[-1].predict_proba(z.numpy()).clip(1e-4)
    assert_close(mixture(images[0].double()).exp().flatten(1).T.numpy(), expected, rtol=1e-3)


def test_a_common_layout_makes_it_independent_of_the_exposure():
    images, truth = _scenes(8, fixed=True)
    mixture = _chosen(images)
    darker = 0.4 * (images + 0.03) - 0.03
    assert clustering_accuracy(truth, _labels(mixture, darker)) > 0.99


def test_noise_has_no_mixture_unless_it_is_forced():
    noise = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert _chosen(noise) is None
    assert _chosen(noise, force=True).layout is False
    assert _chosen(noise, k=1, force=True) is None
    assert _chosen(noise[:1, :, :1, :2], force=True) is None
    assert _chosen(torch.full((2, 1, 8, 8), 0.5)) is None


def test_one_image_has_no_common_layout():
    images, _ = _scenes(1, fixed=True)
    assert _chosen(images).layout is False


def test_scale_of_the_values():
    """Images of any range, also with negative values, have the same clusters."""
    images, truth = _scenes(6, fixed=False)
    for changed in (images * 1000, images / 1000, images - 1):
        assert clustering_accuracy(truth, _labels(_chosen(changed), changed)) > 0.99


def test_state():
    images, _ = _scenes(4, fixed=True)
    mixture = _chosen(images)
    again = PixelMixture.of_state(mixture.state(), images)
    assert_close(again(images[0]).numpy(), mixture(images[0]).numpy(), rtol=1e-6)
