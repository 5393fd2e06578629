"""CanonicalRotation: the same image at every angle, upright images, the loss by loops, seeds, files, kinds of input."""

import numpy as np
import pandas as pd
import pytest
import torch
from examples import saved_copies
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from tolerance import assert_close

from sklinvariant.autoencoder import CanonicalRotation
from sklinvariant.autoencoder._canonical_rotation import Rotated, RotationLoss, best_steps, disc, rotate, squared
from sklinvariant.autoencoder._equivariant_network import EquivariantAutoencoderNetwork, align
from sklinvariant.datasets import load_digits_images
from sklinvariant.networks import Group
from sklinvariant.transforms import Rotation

QUICK = {"n_rotations": 16, "latent_channels": 3, "width": 3, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return load_digits_images().images[:60]


def _network(dtype=torch.float64, size=6):
    generator = torch.Generator().manual_seed(0)
    return EquivariantAutoencoderNetwork((1, size, size), "C4", "attention", 3, 3, 1, generator).to(dtype).eval()


def _equal_share(a, b):
    """The share of images that are equal; the others are ties of two angles."""
    return np.isclose(a, b, atol=1e-3).reshape(len(a), -1).all(1).mean()


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (6, 6, 3)])
def test_quarter_turns_do_not_matter(shape):
    images = np.random.RandomState(0).rand(30, *shape).astype(np.float32)
    model = CanonicalRotation(**QUICK).fit(images)
    canonical, angles = model.transform(images), model.predict_angle(images)
    assert canonical.shape == images.shape
    assert canonical.dtype == np.float32
    assert np.ptp(canonical, axis=0).max() > 0.1
    for turn in range(1, 4):
        turned = np.ascontiguousarray(np.rot90(images, turn, axes=(1, 2)))
        assert _equal_share(model.transform(turned), canonical) > 0.9
        assert np.mean((model.predict_angle(turned) - angles) % 360 == 90 * turn) > 0.9


def test_other_angles_hardly_matter():
    """Smooth images, so that the interpolation changes little."""
    across, down = np.meshgrid(*[np.linspace(-1, 1, 24)] * 2)
    sizes = np.random.RandomState(0).uniform(0.15, 0.4, (40, 1, 1))
    images = np.exp(-((across / sizes) ** 2) - ((down - 0.3) / 0.25) ** 2).astype(np.float32)
    model = CanonicalRotation(32, width=4, batch_size=10, random_state=0).fit(images)
    canonical = model.transform(images)
    angle = 50.0
    turned = Rotation(interpolation="bicubic").apply(images, [[angle]])
    moved = model.predict_angle(turned) - model.predict_angle(images) - angle
    assert np.mean(np.abs((moved + 180) % 360 - 180) < 20) > 0.9
    change = np.abs(model.transform(turned) - canonical).mean()
    assert change < 0.3 * np.abs(turned - images).mean()


def test_the_loss_by_loops():
    network, n = _network().requires_grad_(False), 3
    generator = torch.Generator().manual_seed(1)
    images, steps = torch.randn(n, 1, 6, 6, dtype=torch.float64, generator=generator), torch.tensor([0, 5, 14])
    got = RotationLoss(network, 0.7)(Rotated(images, steps))
    expected, relative = 0.0, np.zeros(16)
    for image, step in zip(images, steps.tolist(), strict=True):
        views = [rotate(image[None], torch.tensor([-a]), 16) * disc(images) for a in range(16)]
        # an image that is rotated back by a = 4 turn + oblique has the scores of quarter turn 0
        scores = torch.stack([network.embed(view)[1][0, 0] for view in views])
        p = (3 * scores).softmax(0)
        features = 0.0
        for oblique in range(4):
            weights = p[[4 * turn + oblique for turn in range(4)]][None]
            features = features + align(network.embed(views[oblique])[0], weights, Group("C4"))
        rebuilt = network.decode(features.flatten(1), torch.tensor([[1.0, 0, 0, 0]]).double())
        expected = expected + sum(p[a] * (rebuilt - views[a]).square().mean() for a in range(16)) / n
        for a in range(16):
            relative[(a - step) % 16] += float(p[a]) / n
    entropy = -(relative * np.log(relative)).sum()
    assert_close(got, expected + 0.7 * entropy, rtol=1e-4)


def test_best_steps_are_those_of_all_rotations():
    network = _network()
    images = torch.randn(5, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        views = [rotate(images, torch.tensor([-a]), 32) * disc(images) for a in range(32)]
        scores = torch.stack([network.embed(view)[1][:, 0] for view in views], dim=1)
        steps = best_steps(network, images, 32)
        assert_close(scores.gather(1, steps[:, None])[:, 0], scores.amax(1))
        assert len(steps.unique()) > 1


def test_rotate_is_counter_clockwise_and_clipped():
    images = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    assert_close(rotate(images, torch.tensor([4]), 16), images.rot90(1, (2, 3)))
    each = rotate(images, torch.tensor([0, 4, 8, -4]), 16)
    assert_close(each, torch.stack([image.rot90(k, (1, 2)) for k, image in enumerate(images)]))
    oblique = rotate(images, torch.tensor([3]), 16)
    assert (oblique.amin((2, 3)) >= images.amin((2, 3))).all()
    assert (oblique.amax((2, 3)) <= images.amax((2, 3))).all()


def test_squares_and_disc():
    images = torch.arange(24.0).view(2, 1, 2, 6)
    square = squared(images, torch.tensor(1.0), torch.tensor(2.0))
    assert square.shape == (2, 1, 6, 6)
    assert_close(square[:, :, 2:4], (images - 1) / 2)
    assert not square[:, :, [0, 1, 4, 5]].any()
    weights = disc(square)
    assert_close(weights, weights.rot90())
    assert weights[2, 2] == 1
    assert weights[2:4].min() > 0.9
    assert weights[0, 0] == 0


def test_upright_images_stay_upright(digits):
    model = CanonicalRotation(**{**QUICK, "max_epochs": 15, "pose_weight": 2.0, "batch_size": 15}).fit(digits)
    assert np.mean(model.predict_angle(digits) == 0) > 0.5
    assert model.history_[-1]["loss"] < 0.75 * model.history_[0]["loss"]
    upright = model.predict_angle(digits) == 0
    inside = disc(torch.zeros(1, 1, 8, 8)).numpy() == 1
    assert_close(model.transform(digits)[upright][:, inside], digits[upright][:, inside], atol=1e-5)


def test_kinds_of_input(digits):
    model = CanonicalRotation(**QUICK).fit(digits)
    canonical = model.transform(digits)
    rows = CanonicalRotation(**QUICK, image_shape=(8, 8)).fit(digits.reshape(60, 64))
    assert _equal_share(rows.transform(digits.reshape(60, 64)), canonical.reshape(60, 64)) > 0.9
    assert _equal_share(model.transform(list(digits)), canonical) > 0.9
    tensor = model.transform(torch.from_numpy(digits))
    assert isinstance(tensor, torch.Tensor)
    assert _equal_share(tensor.numpy(), canonical) > 0.9
    assert model.transform(digits.astype(np.float64)).dtype == np.float64
    colour = np.random.RandomState(0).randint(0, 256, (12, 6, 9, 3)).astype(np.uint8)
    model = CanonicalRotation(**QUICK).fit(colour)
    assert model.transform(colour).shape == colour.shape
    assert _equal_share(model.transform((colour / 255).astype(np.float32)), model.transform(colour)) > 0.8
    assert 0 <= model.transform(colour).min() < model.transform(colour).max() <= 1


def test_parts_do_not_matter(digits):
    images = np.concatenate([digits] * 6)
    model = CanonicalRotation(**QUICK).fit(digits)
    assert _equal_share(model.transform(images)[-60:], model.transform(digits)) > 0.9


def test_seed_clone_pickle_file(digits, tmp_path, global_random_seed):
    torch.manual_seed(5)
    model = CanonicalRotation(**{**QUICK, "random_state": global_random_seed}).fit(digits)
    expected, drawn = model.transform(digits), torch.rand(1).item()
    torch.manual_seed(5)
    assert drawn == torch.rand(1).item()
    for again in saved_copies(model, tmp_path / "model.safetensors"):
        np.testing.assert_array_equal(again.transform(digits), expected)
    assert _equal_share(clone(model).fit(digits).transform(digits), expected) > 0.9
    other = clone(model).set_params(random_state=global_random_seed + 1).fit(digits)
    assert _equal_share(other.transform(digits), expected) < 0.9


def test_constant_images_stay_finite():
    images = np.full((5, 6, 6), 0.5)
    assert_close(CanonicalRotation(**QUICK).fit_transform(images), images)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_rotations": 10}, "n_rotations must be a multiple of 4 and at most 65536, got 10. Use 12"),
        ({"n_rotations": 1 << 17}, "n_rotations must be a multiple of 4 and at most 65536, got 131072. Use 65536"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"depth": 0}, "depth"),
        ({"pose_weight": -1}, "pose_weight"),
    ],
)
def test_bad_parameters(params, message, digits):
    with pytest.raises(ValueError, match=message):
        CanonicalRotation(**{**QUICK, **params}).fit(digits)


def test_bad_images(digits):
    model = CanonicalRotation(**QUICK).fit(digits)
    for images in (digits[:, 1:, 1:], digits.reshape(60, 4, 16)):
        with pytest.raises(ValueError, match=r"features|fitted on images"):
            model.transform(images)
    with pytest.raises(ValueError, match="fitted with different width"):
        model.set_params(width=4, warm_start=True).fit(digits)


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, pd.DataFrame, torch.as_tensor])
def test_flat_rows_need_a_shape(digits, kind):
    rows, model = kind(digits.reshape(60, 64)), CanonicalRotation(**QUICK)
    for fit in (model.fit, model.partial_fit, model.fit_transform):
        with pytest.raises(ValueError, match=r"1 × 64 pixels are too elongated .* \(for flat rows, set image_shape\)"):
            fit(rows)
    assert not hasattr(model, "history_")
    model.fit(digits)
    for method in (model.transform, model.predict_angle, model.partial_fit):
        with pytest.raises(
            ValueError, match=r"1 x 64 pixels, but .* fitted on images of 8 x 8\. Set image_shape=\(8, 8\)"
        ):
            method(rows)
    model.set_params(image_shape=(8, 8))
    assert model.transform(rows).shape == (60, 64)


@pytest.mark.parametrize("shape", [(1, 30), (45, 2), (21, 1, 1)])
def test_strips_cannot_be_rotated(shape):
    with pytest.raises(ValueError, match=rf"{shape[0]} × {shape[1]} pixels are too elongated .* at most 20 times"):
        CanonicalRotation(**QUICK).fit(np.ones((3, *shape)))


def test_a_classifier_of_turned_digits_gains(global_random_seed):
    images, y = load_digits_images(return_X_y=True)
    angles = np.random.RandomState(global_random_seed).uniform(0, 360, (200, 1))
    turned = Rotation().apply(images[300:500], angles)
    flat = FunctionTransformer(lambda images: images.reshape(len(images), -1))
    rotation = CanonicalRotation(16, max_epochs=5, random_state=global_random_seed)
    plain, ours = make_pipeline(flat, SVC(C=10)), make_pipeline(rotation, flat, SVC(C=10))
    scores = [model.fit(images[:300], y[:300]).score(turned, y[300:500]) for model in (plain, ours)]
    assert scores[1] > scores[0] + 0.2


@pytest.mark.slow
def test_turned_digits_are_told_apart():
    data = load_digits_images()
    train, test, y, y_test = data.images[:900], data.images[900:], data.target[:900], data.target[900:]
    turned = Rotation().apply(test, np.random.RandomState(0).uniform(0, 360, (len(test), 1)))
    flat = FunctionTransformer(lambda images: images.reshape(len(images), -1))
    classifier = make_pipeline(CanonicalRotation(random_state=0), flat, SVC(C=10)).fit(train, y)
    assert classifier.score(turned, y_test) > 0.85
    assert make_pipeline(flat, SVC(C=10)).fit(train, y).score(turned, y_test) < 0.5
