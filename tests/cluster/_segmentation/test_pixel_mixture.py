"""The mixture of colours from which segmentation starts: what it computes, and when it is used."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from tolerance import assert_close

from sklinvariant.cluster._segmentation import _pixel_mixture
from sklinvariant.cluster._segmentation._dense_mutual_information import dense_joints
from sklinvariant.cluster._segmentation._pixel_mixture import PixelMixture, choose_mixture, pixel_features
from sklinvariant.metrics import clustering_accuracy
from sklinvariant.ops import joint_information


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
    return choose_mixture(list(images), k, torch.Generator().manual_seed(0), **settings)


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

    monkeypatch.setattr("sklinvariant.cluster._segmentation._pixel_mixture.GaussianMixture", Kept)
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


def _checks(n, seed=0):
    """Images (n, 1, 60, 60) of fine checks, coarse checks and noise, side by side in random order."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:60, :20]
    images = []
    for _ in range(n):
        fine, coarse = ((y + rng.randint(side)) // side + (x + rng.randint(side)) // side for side in (2, 6))
        parts = [0.2 + 0.6 * (fine % 2), 0.2 + 0.6 * (coarse % 2), rng.rand(60, 20)]
        images.append(np.concatenate([parts[i] for i in rng.permutation(3)], axis=1))
    return torch.from_numpy(np.stack(images)[:, None]).float()


def test_textures_of_blocks_tell_more_than_colours():
    """The colours of neighbours are related, but their textures more so."""
    images = _checks(8)
    mixture = _chosen(images, k=3, force=True)
    assert _pixel_mixture._information(mixture, images, 3) > 0.15
    assert _chosen(images, k=3) is None


def test_colours_tell_more_than_textures_of_blocks():
    """Regions that differ both in colour and in texture are found by their colours."""
    images, truth = _scenes(8, fixed=False)
    images, truth = images.repeat_interleave(3, 2).repeat_interleave(3, 3), truth.repeat(3, 1).repeat(3, 2)
    images = images * torch.from_numpy(1 + 0.6 * truth[:, None] * (np.arange(72) % 2)).float()
    assert _pixel_mixture._texture_information(list(images), 2, 0.0, 1.0, torch.Generator().manual_seed(0)) > 0.1
    assert clustering_accuracy(truth, _labels(_chosen(images), images)) > 0.99


def test_few_blocks_are_not_compared():
    """Colours decide if images are smaller than a block, or have few blocks."""
    small, _ = _scenes(8, fixed=False)
    assert _chosen(small[:, :, :6]) is not None
    assert _chosen(_checks(2), k=3) is None
    assert _chosen(_checks(2)[:, :, :20], k=3) is not None


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


@pytest.mark.parametrize("fixed", [False, True])
def test_windows_and_strips_are_those_of_the_whole_image(fixed, monkeypatch):
    images, _ = _scenes(6, fixed=fixed)
    mixture = _chosen(images)
    z = (pixel_features(images[1], mixture.low, mixture.high, layout=fixed).permute(1, 2, 0) - mixture.shift) / (
        mixture.scale
    )
    z = torch.cat([z, torch.ones(24, 24, 1)], dim=2)
    expected = torch.einsum("hwd,kde,hwe->khw", z, mixture.form, z).log_softmax(0).clamp_min(np.log(1e-4)).numpy()
    assert_close(mixture(images[1]).numpy(), expected, rtol=1e-4)
    monkeypatch.setattr(_pixel_mixture, "_STRIP_BYTES", 1000)
    assert_close(mixture(images[1]).numpy(), expected, rtol=1e-4)
    window = slice(5, 19), slice(3, 11)
    assert_close(mixture.on(images[1])(*window).numpy(), expected[:, *window], rtol=1e-4)


@pytest.mark.parametrize("half_window", [0, 2, 30])
def test_information_of_neighbours_is_summed_over_strips(half_window, monkeypatch):
    images, _ = _scenes(3, fixed=False)
    mixture = _chosen(images)
    labels = torch.stack([torch.nn.functional.one_hot(mixture(image).argmax(0), 2) for image in images])
    labels = labels.permute(0, 3, 1, 2).float()
    joint = dense_joints(labels, labels, half_window, average="joint")
    marginal = joint.sum(0) / joint.sum()
    expected = float(joint_information(joint) / torch.special.entr(marginal).sum())
    for n_bytes in (1, 1000, 1 << 20):
        monkeypatch.setattr(_pixel_mixture, "_STRIP_BYTES", n_bytes)
        assert_close(_pixel_mixture._information(mixture, images, half_window), expected, rtol=1e-4)


def test_memory_of_an_evaluation_is_bounded(monkeypatch):
    """Also while the mixture is chosen, no more pixels than those of a strip are evaluated at a time."""
    images, _ = _scenes(2, fixed=True)
    images = images.repeat_interleave(8, dim=2)  # (2, 3, 192, 24)
    mixture = _chosen(images)
    seen = []

    def counted(image, *args, **kwargs):
        answer = pixel_features(image, *args, **kwargs)
        seen.append(answer[0].numel())
        return answer

    monkeypatch.setattr(_pixel_mixture, "_STRIP_BYTES", 24 * 10 * 2 * 5 * 4)  # 10 rows, k=2 and 4 features
    monkeypatch.setattr(_pixel_mixture, "pixel_features", counted)
    mixture(images[0])
    _pixel_mixture._information(mixture, images, 2)
    assert max(seen) <= 24 * (10 + 2 * 2)


@pytest.mark.parametrize("size", [24, 4])
@pytest.mark.parametrize("outlier", [1e4, -1e4])
def test_outlier(size, outlier):
    """A pixel far outside the range of the others hardly changes the scale; without it the range is the scale."""
    images, _ = _scenes(4, fixed=False)
    images = images[:, :, :size, :size].clone()
    ordinary = _chosen(images, force=True)
    assert (ordinary.low, ordinary.high) == (0.0, float(images.max()))
    images[0, :, 0, 0] = outlier
    mixture = _chosen(images, force=True)
    assert -3 < mixture.low / ordinary.high <= 0
    assert 0.9 < mixture.high / ordinary.high < 3


def test_number_of_compared_images(monkeypatch):
    images, _ = _scenes(3, fixed=False)
    mixture = _chosen(images)
    monkeypatch.setattr(_pixel_mixture, "_N_IMAGES", 2)
    seen = []

    class Images(list):
        def __getitem__(self, index):
            seen.append(super().__getitem__(index))
            return seen[-1]

    _pixel_mixture._information(mixture, Images(images), 1)
    assert len(seen[0]) == 2


def test_state():
    images, _ = _scenes(4, fixed=True)
    mixture = _chosen(images)
    again = PixelMixture.of_state(mixture.state(), images)
    assert_close(again(images[0]).numpy(), mixture(images[0]).numpy(), rtol=1e-6)
