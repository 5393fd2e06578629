"""EquivariantAutoencoder: invariance before and after training, pose, reconstruction, seeds, files, kinds of input."""

import numpy as np
import pytest
import torch
from examples import saved_copies
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from tolerance import assert_close

from sklinvariant.accumulate import channel_spread
from sklinvariant.autoencoder import EquivariantAutoencoder
from sklinvariant.autoencoder._equivariant_autoencoder import ReconstructionLoss
from sklinvariant.autoencoder._equivariant_network import EquivariantAutoencoderNetwork
from sklinvariant.datasets import load_digits_images
from sklinvariant.networks import Group

QUICK = {"latent_channels": 3, "width": 3, "max_epochs": 2, "random_state": 0}
POOLINGS = ["attention", "gram", "mean"]
ROUNDING = 1e-4  # of float32 through all layers; what is not invariant changes by tenths


@pytest.fixture(scope="module")
def digits():
    return load_digits_images().images[:60]


def _moved(images, name, g):
    """Computed by numpy instead of by `Group`."""
    n = int(name[1:])
    images = images[:, :, ::-1] if g >= n else images
    return np.ascontiguousarray(np.rot90(images, (g % n) * 4 // n, axes=(1, 2)))


@pytest.mark.parametrize(
    ("name", "pooling"),
    [("C4", "gram"), ("C4", "mean"), ("D4", "gram"), *((name, "attention") for name in ("C2", "C4", "D1", "D4"))],
)
def test_features_do_not_change(name, pooling, digits):
    """Untrained and trained, digits and noise, even and odd sizes."""
    noise = np.random.RandomState(0).rand(30, 7, 7).astype(np.float32)
    for images, trained in ((digits, False), (digits, True), (digits[:, 1:, 1:], True), (noise, True)):
        schedule = {"batch_size": 10, "max_epochs": 3} if trained else {"learning_rate": 1e-12, "max_epochs": 1}
        model = EquivariantAutoencoder(**{**QUICK, **schedule}, group=name, pooling=pooling)
        features = model.fit_transform(images)
        assert features.dtype == np.float32
        assert np.ptp(features, axis=0).max() > 0.01
        for g in range(len(model.elements_)):
            change = np.linalg.norm(model.transform(_moved(images, name, g)) - features, axis=1)
            assert (change / np.linalg.norm(features, axis=1)).max() < ROUNDING


@pytest.mark.parametrize("name", ["C4", "D4"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pose_moves_and_rebuilt_images_with_it(name, pooling, digits):
    model = EquivariantAutoencoder(**QUICK, group=name, pooling=pooling).fit(digits)
    features, pose = model.transform(digits), model.predict_pose(digits)
    assert pose.dtype == np.int64
    canonical = model.inverse_transform(features)
    group = Group(name)
    for g in range(group.order):
        moved = _moved(digits, name, g)
        assert np.mean(model.predict_pose(moved) == group.products[g, pose].numpy()) > 0.95  # but for ties
        np.testing.assert_allclose(model.inverse_transform(features, g), _moved(canonical, name, g), atol=1e-4)
        mirrored, degrees = model.elements_[g]
        assert (mirrored, degrees) == (g >= 4, g % 4 * 90)
    error = np.mean((model.inverse_transform(features, pose) - digits) ** 2)
    assert model.reconstruction_error_ == pytest.approx(error, rel=1e-4)


def test_embedding_is_permuted(digits):
    model = EquivariantAutoencoder(**QUICK, pooling=None, group="D4").fit(digits)
    embedding = model.embed(digits)
    assert embedding.shape == (60, 3, 8) == (60, *model.embedding_shape_)
    assert_close(model.transform(digits), embedding.reshape(60, 24))
    group = Group("D4")
    for g in range(8):
        moved = model.embed(_moved(digits, "D4", g))
        np.testing.assert_allclose(moved[:, :, group.products[g]], embedding, atol=1e-5)
    turned = model.inverse_transform(model.transform(_moved(digits, "D4", 1)))
    np.testing.assert_allclose(turned, _moved(model.inverse_transform(model.transform(digits)), "D4", 1), atol=1e-4)
    assert not hasattr(model, "predict_pose")
    with pytest.raises(ValueError, match="pose must be None with pooling=None"):
        model.inverse_transform(model.transform(digits), 1)


@pytest.mark.parametrize("group", ["C4", "C8"])
@pytest.mark.parametrize("cross_entropy", [False, True])
def test_loss_is_the_expected_error(group, cross_entropy):
    """Against all reconstructions weighted by their poses; exact for rotations without interpolation."""
    network = EquivariantAutoencoderNetwork((1, 6, 6), group, "gram", 3, 3, 1, torch.Generator().manual_seed(0))
    network.double().eval()
    images = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    loss = ReconstructionLoss(network, 0.4, 0.3, cross_entropy)(images)
    x = (images - 0.4) / 0.3
    embedding, pose = network.encode(x)
    features = network.features(embedding, pose)
    expected = 0.0
    for g in range(0, network.group.order, network.group.order // 4):
        rebuilt = network.decode(features, torch.eye(network.group.order).double()[g].expand_as(pose))
        if cross_entropy:
            errors = -(images * rebuilt.sigmoid().log() + (1 - images) * (1 - rebuilt.sigmoid()).log())
        else:
            errors = (rebuilt - x) ** 2
        expected += (pose[:, g] * errors.mean((1, 2, 3))).mean()
    if group == "C4":
        torch.testing.assert_close(loss, expected)
        mean = pose.mean(0)
        weighted = ReconstructionLoss(network, 0.4, 0.3, cross_entropy, 2.0)(images)
        torch.testing.assert_close(weighted - loss, -2 * (mean * mean.log()).sum())
    else:
        assert loss > expected


@pytest.mark.parametrize("params", [{}, {"pooling": "gram"}, {"pooling": "mean"}, {"pooling": None}, {"loss": "bce"}])
def test_learning_rebuilds(params, digits):
    model = EquivariantAutoencoder(8, width=6, batch_size=15, random_state=0, **params).fit(digits)
    assert model.history_[-1]["loss"] < 0.75 * model.history_[0]["loss"]
    assert model.reconstruction_error_ < 0.7 * digits.var()
    assert model.n_iter_ == len(model.history_) == 30


def test_upright_images_agree_on_a_pose(digits):
    """Ones, eights and zeros look alike upside down. The entropy of the mean pose still aligns their poses."""
    share = {}
    for weight in (0, 1):
        model = EquivariantAutoencoder(4, width=4, batch_size=10, pose_weight=weight, random_state=0).fit(digits)
        share[weight] = np.mean(model.predict_pose(digits) == 0)
    assert share[1] > 0.9
    assert 0.25 <= share[0] < 0.8


def test_the_pose_is_that_of_what_was_fitted(digits):
    model = EquivariantAutoencoder(**QUICK).fit(digits).set_params(pooling=None)
    assert model.predict_pose(digits).shape == (60,)
    model.fit(digits).set_params(pooling="gram")
    assert not hasattr(model, "predict_pose")
    assert not hasattr(clone(model).set_params(pooling=None), "predict_pose")
    assert hasattr(clone(model), "predict_pose")


def test_interpolated_group(digits):
    """Quarter turns are exact. For other angles, features change less than those of an ordinary autoencoder."""
    model = EquivariantAutoencoder(**QUICK, group="C8").fit(digits)
    features = model.transform(digits)
    turned = model.transform(_moved(digits, "C4", 1))
    assert (
        np.abs(turned - features).max() / np.abs(features).max() < 1e-4
    )  # rounding: what is not invariant changes by tenths
    assert model.elements_[:, 1].tolist() == [0, 45, 90, 135, 180, 225, 270, 315]
    pose = model.predict_pose(digits)
    assert np.mean(model.predict_pose(_moved(digits, "C4", 1)) == (pose + 2) % 8) > 0.95  # but for ties


def test_kinds_of_input(digits):
    model = EquivariantAutoencoder(**QUICK).fit(digits)
    features = model.transform(digits)
    rows = EquivariantAutoencoder(**QUICK, image_shape=(8, 8)).fit(digits.reshape(60, 64))
    assert_close(rows.transform(digits.reshape(60, 64)), features, rtol=1e-3)
    assert rows.inverse_transform(features).shape == (60, 64)
    assert_close(model.transform(list(digits)), features)
    assert EquivariantAutoencoder(**QUICK).fit(list(digits)).inverse_transform(features).shape == (60, 8, 8)
    tensor = model.transform(torch.from_numpy(digits))
    assert isinstance(tensor, torch.Tensor)
    assert_close(tensor, features)
    assert model.inverse_transform(tensor, torch.ones(60, dtype=torch.int64)).shape == (60, 8, 8)
    assert model.transform(digits.astype(np.float64)).dtype == np.float64
    colour = np.random.RandomState(0).randint(0, 256, (12, 9, 9, 3)).astype(np.uint8)
    model = EquivariantAutoencoder(**QUICK).fit(colour)
    rebuilt = model.inverse_transform(model.transform(colour))
    assert rebuilt.shape == (12, 9, 9, 3)
    np.testing.assert_allclose(model.transform((colour / 255).astype(np.float32)), model.transform(colour), rtol=1e-4)
    assert abs(rebuilt.mean() - 0.5) < 0.2


def test_parts_do_not_matter(digits):
    images = np.concatenate([digits] * 6)
    model = EquivariantAutoencoder(**QUICK).fit(digits)
    np.testing.assert_allclose(model.transform(images)[-60:], model.transform(digits), rtol=1e-4, atol=1e-6)


def test_seed_clone_pickle_file(digits, tmp_path, global_random_seed):
    torch.manual_seed(5)
    np.random.seed(5)
    model = EquivariantAutoencoder(**{**QUICK, "random_state": global_random_seed}).fit(digits)
    expected = model.transform(digits)
    drawn = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    assert drawn == (torch.rand(1).item(), np.random.rand())
    for again in saved_copies(model, tmp_path / "model.safetensors"):
        np.testing.assert_array_equal(again.transform(digits), expected)
        np.testing.assert_array_equal(again.inverse_transform(expected, 3), model.inverse_transform(expected, 3))
    assert_close(clone(model).fit(digits).transform(digits), expected, rtol=1e-3)
    other = clone(model).set_params(random_state=global_random_seed + 1).fit(digits)
    assert not np.allclose(other.transform(digits), expected, rtol=0.1)


def test_in_a_pipeline(digits):
    pipeline = make_pipeline(EquivariantAutoencoder(**QUICK), KMeans(3, n_init=1, random_state=0)).fit(digits)
    labels = pipeline.predict(_moved(digits, "C4", 1))
    assert np.mean(labels == pipeline.predict(digits)) > 0.98
    names = pipeline[0].get_feature_names_out()
    assert list(names[:2]) == ["equivariantautoencoder0", "equivariantautoencoder1"]
    assert len(names) == 12


def test_tol_stops(digits):
    model = EquivariantAutoencoder(**{**QUICK, "max_epochs": 50}, tol=1.0, n_iter_no_change=2).fit(digits)
    assert model.n_iter_ < 6


def test_same_on_the_device(digits, device):
    images = torch.from_numpy(digits).to(device)
    model = EquivariantAutoencoder(**QUICK).fit(images)
    features = model.transform(images)
    assert features.device.type == device
    torch.testing.assert_close(model.transform(images.rot90(1, (1, 2))), features, rtol=1e-4, atol=1e-4)
    assert torch.backends.cudnn.allow_tf32  # as it was
    assert model.inverse_transform(features, model.predict_pose(images)).device.type == device
    assert model.transform(digits).shape == tuple(features.shape)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_constant_images_stay_finite(pooling):
    images = np.full((5, 6, 6), 0.5)
    model = EquivariantAutoencoder(**QUICK, pooling=pooling).fit(images)
    assert np.isfinite(model.transform(images)).all()
    assert np.isfinite(model.inverse_transform(model.transform(images))).all()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 3.3, -7e-5])
def test_constant_images_are_not_divided_by_their_rounding(value):
    """A constant channel, such as an alpha channel, gets a scale of 1, not one of rounding errors."""
    images = np.full((50, 6, 6, 2), value)
    images[..., 0] = np.random.RandomState(0).rand(50, 6, 6)
    shift, scale = channel_spread(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert (shift[1].item(), scale[1].item()) == (pytest.approx(value, rel=1e-12), 1)
    assert shift[0].item() == pytest.approx(images[..., 0].mean())
    assert scale[0].item() == pytest.approx(images[..., 0].std())


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e300])
def test_the_scale_of_images_does_not_matter(factor, digits):
    images = digits.astype(np.float64 if abs(np.log10(factor)) > 38 else np.float32)
    model = EquivariantAutoencoder(**QUICK).fit(images)
    scaled = EquivariantAutoencoder(**QUICK).fit(images * images.dtype.type(factor))
    features = scaled.transform(images * images.dtype.type(factor))
    np.testing.assert_allclose(features, model.transform(images), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(
        scaled.inverse_transform(features) / factor, model.inverse_transform(features), rtol=1e-2, atol=1e-3
    )
    if images.dtype == np.float32:
        assert scaled.reconstruction_error_ / factor**2 == pytest.approx(model.reconstruction_error_, rel=1e-2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"group": "S3"}, "group must be"),
        ({"pooling": "max"}, "pooling"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"loss": "l1"}, "loss"),
        ({"depth": 0}, "depth"),
        ({"pose_weight": -1}, "pose_weight"),
        ({"loss": "bce"}, "values in 0-1"),
    ],
)
def test_bad_parameters(params, message, digits):
    with pytest.raises(ValueError, match=message):
        EquivariantAutoencoder(**{**QUICK, **params}).fit(2 * digits)


def test_bad_images(digits):
    model = EquivariantAutoencoder(**QUICK).fit(digits)
    before = model.transform(digits)
    with pytest.raises(ValueError, match="images of 8 × 6 pixels are not square"):
        model.fit(digits[:, :, 1:7])
    with pytest.raises(ValueError, match="are not square"):
        clone(model).fit(digits.reshape(60, 64))
    broken = digits.copy()
    broken[3, 2, 2] = np.nan
    with pytest.raises(ValueError, match="image 3 contains NaN"):
        model.fit(broken)
    for images in (digits[:, 1:, 1:], digits.reshape(60, 4, 16)):
        with pytest.raises(ValueError, match="fitted on images of 8 x 8"):
            model.transform(images)
    np.testing.assert_array_equal(model.transform(digits), before)  # a fit that fails leaves the model


def test_bad_features_and_poses(digits):
    model = EquivariantAutoencoder(**QUICK).fit(digits)
    features = model.transform(digits)
    for bad, message in ((features[:, 1:], r"shape \(n, 12\)"), (features * np.nan, "NaN")):
        with pytest.raises(ValueError, match=message):
            model.inverse_transform(bad)
    for bad in (features.astype(str), features.astype(object), features.astype(complex), csr_array(features)):
        with pytest.raises(ValueError, match="real numbers"):
            model.inverse_transform(bad)
    with pytest.raises(ValueError, match="real numbers"):
        model.inverse_transform(torch.from_numpy(features).to(torch.complex64))
    cases = (
        (4, "must be in 0-3"),
        (-1, "must be in 0-3"),
        ([0, 1], "60 integers, one for each row"),
        (0.5, "must be an integer"),
    )
    for pose, message in cases:
        with pytest.raises(ValueError, match=message):
            model.inverse_transform(features, pose)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["attention", "gram"])
def test_turned_digits_are_told_apart(pooling):
    data = load_digits_images()
    train, test, y, y_test = data.images[:900], data.images[900:], data.target[:900], data.target[900:]
    turns = np.random.RandomState(0).randint(4, size=len(test))
    turned = np.stack([np.rot90(image, turn) for image, turn in zip(test, turns, strict=True)])

    def score(**params):
        model = EquivariantAutoencoder(**params, batch_size=32, max_epochs=15, random_state=0).fit(train)
        classifier = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False)).fit(model.transform(train), y)
        return model, classifier.score(model.transform(turned), y_test)

    model, score_of_ours = score(pooling=pooling)
    assert score_of_ours > 0.85
    assert score(group="trivial", width=32, latent_channels=32)[1] < 0.6
    assert np.mean(model.predict_pose(turned) == turns) > 0.9
