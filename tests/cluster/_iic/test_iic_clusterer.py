"""IICClusterer: clusters found, sources of pairs, networks, going on, seeds and files, bad input."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from callbacks import Interrupts
from photographs import write_images
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback
from tolerance import assert_close, assert_same_labels

from sklinvariant import IICClusterer, load, save
from sklinvariant.cluster._iic._fitted_clusters import samples_of
from sklinvariant.cluster._iic._iic_clusterer import PAIRS, SAMPLES
from sklinvariant.images import read_image
from sklinvariant.images._pixels import fit_into
from sklinvariant.pairs._sample_pairs import SamplePairBatches, ViewPairs, same
from sklinvariant.transforms import Rotation

QUICK = {"max_epochs": 40, "learning_rate": 0.01, "n_neighbors": 5, "random_state": 0}


def one_to_one_accuracy(y, labels):
    table = np.zeros((y.max() + 1, labels.max() + 1))
    np.add.at(table, (y, labels), 1)
    return table[linear_sum_assignment(-table)].sum() / len(y)


@pytest.fixture
def bars(global_random_seed):
    """60 images 12 × 12 of a horizontal or a vertical bar somewhere."""
    rng = np.random.RandomState(global_random_seed)
    images, kinds = np.zeros((60, 12, 12), np.float32), np.arange(60) % 2
    for image, kind, at in zip(images, kinds, rng.randint(3, 9, 60), strict=True):
        (image if kind else image.T)[at] = 1
    return images + 0.05 * rng.rand(60, 12, 12).astype(np.float32), kinds


def test_finds_blobs_and_says_how_sure(blobs):
    X, y = blobs
    model = IICClusterer(3, **QUICK).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    for labels in (probabilities.argmax(1), model.predict(X), clone(model).fit_predict(X)):
        assert_same_labels(labels, model.labels_, probabilities)
    assert model.transform(X).shape == (90, 256)
    assert len(model.get_feature_names_out()) == 256
    assert (model.mutual_information_ratio_ < 1 + 1e-6).all()
    assert model.mutual_information_ratio_.max() > 0.9
    np.testing.assert_allclose(model.mutual_information_, model.mutual_information_ratio_ * np.log(3))
    assert model.score(X) == pytest.approx(model.mutual_information_[model.best_head_], abs=0.02)
    assert len(model.history_) == model.n_iter_ == 40
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
def test_the_best_head_is_that_of_least_loss(blobs):
    model = IICClusterer(3, n_heads=4, entropy_weight=1.0, **QUICK | {"max_epochs": 3}).fit(blobs[0])
    assert model.mutual_information_.shape == (4,)
    assert model.mutual_information_[model.best_head_] == pytest.approx(model.mutual_information_.max())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
@pytest.mark.parametrize("params", [{}, {"pairs": Rotation(10, fill="edge"), "n_repeats": 2}])
def test_images(bars, params):
    images, _kinds = bars
    model = IICClusterer(2, **{"network": "mlp", **params}, max_epochs=20, batch_size=20, random_state=0)
    model.set_params(learning_rate=0.003).fit(images)
    assert model.mutual_information_ratio_[model.best_head_] > 0.5
    flat = clone(model).set_params(image_shape=(12, 12)).fit(images.reshape(60, -1))
    assert_same_labels(flat.labels_, model.labels_, model.predict_proba(images), margin=0.01)
    with pytest.raises(ValueError, match="fitted on images, but X contains rows"):
        model.predict(images.reshape(60, -1))
    with pytest.raises(ValueError, match="images are 10 x 12 pixels, but IICClusterer was fitted on images of 12 x 12"):
        model.predict(images[:, :10])
    with pytest.raises(ValueError, match="images are 9 x 16 pixels, but IICClusterer was fitted on images of 12 x 12"):
        model.predict(images.reshape(60, 9, 16))
    with pytest.raises(
        ValueError, match=r"9 x 16 pixels, but IICClusterer was fitted on .* Set image_shape=\(12, 12\)"
    ):
        flat.set_params(image_shape=(9, 16)).predict(images.reshape(60, -1))


@pytest.mark.parametrize("network", ["vgg", "resnet"])
def test_colour_images_of_whole_numbers(network):
    images = np.random.RandomState(0).randint(0, 256, (6, 8, 9, 3)).astype(np.uint8)
    model = IICClusterer(2, network=network, init="random", random_state=0)
    features = model.partial_fit(images).transform(images)
    assert features.dtype == np.float32
    assert len(features) == 6
    assert features.shape[1] == (1024 if network == "vgg" else 512)
    np.testing.assert_allclose(model.transform(images / np.float32(255)), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairs", ["transform", "neighbors"])
def test_images_of_whole_numbers_are_clustered_as_their_floats(pairs):
    images = (load_digits(n_class=2).images[:80] * 15).astype(np.uint8)
    model = IICClusterer(2, pairs=pairs, max_epochs=1, n_heads=2, random_state=0)
    whole, floats = clone(model).fit(images), clone(model).fit(images / np.float32(255))
    assert_close(whole.predict_proba(images), floats.predict_proba(images), atol=1e-3)
    assert_close(whole.score(images), floats.score(images), atol=1e-3)


@pytest.mark.parametrize("n_channels", [2, 4])
def test_images_of_any_channels(n_channels):
    X = np.random.RandomState(0).rand(10, 6, 6, n_channels)
    assert IICClusterer(2, max_epochs=1, random_state=0).fit(X).predict(X).shape == (10,)


def test_own_callable_and_own_module(blobs):
    X, y = blobs
    calls = []

    def shaken(samples, generator):
        calls.append(len(samples))
        return samples + 0.3 * torch.randn(samples.shape, generator=generator)

    own = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh())
    before = own[0].weight.detach().clone()
    model = IICClusterer(3, pairs=shaken, network=own, **QUICK).fit(X.astype(np.float32))
    assert adjusted_rand_score(y, model.labels_) > 0.9
    assert calls
    assert model.transform(X).shape == (90, 16)
    torch.testing.assert_close(own[0].weight, before)  # a copy learns
    with pytest.raises(ValueError, match="transforms changed the shape of the samples"):
        IICClusterer(3, pairs=lambda samples, generator: samples[:, :2]).fit(X)


def test_auxiliary_heads_learn_in_turns(blobs):
    X, y = blobs
    source = ViewPairs(torch.tensor(X), same, torch.Generator().manual_seed(0))
    batches = SamplePairBatches(source, torch.arange(45), batch_size=40, n_repeats=3, with_auxiliary=True)
    turns = [(batch.auxiliary, len(batch.first), len(batch.second)) for batch, _ in batches]
    assert turns == [(True, 30, 90)] * 3 + [(False, 23, 69), (False, 22, 66)]
    assert len(turns) == batches.n_steps
    model = IICClusterer(3, n_overclusters=9, **QUICK).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
    assert model.predict_proba(X).shape == (90, 3)


def test_the_same_seed_gives_the_same_model(blobs):
    X, _ = blobs
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = IICClusterer(3, n_overclusters=6, **QUICK).fit(X)
    again = clone(model).fit(X)
    assert_close(model.predict_proba(X), again.predict_proba(X), rtol=1e-3)
    other = clone(model).set_params(random_state=1).fit(X)
    assert not np.allclose(model.transform(X), other.transform(X), atol=0.01)  # clusters may have the same numbers
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_going_on(blobs):
    X, _ = blobs
    model = IICClusterer(3, warm_start=True, **QUICK).fit(X)
    better = model.mutual_information_.max()
    model.set_params(max_epochs=2).fit(X)
    assert model.n_iter_ == 42
    assert [row["epoch"] for row in model.history_] == list(range(1, 43))
    assert model.mutual_information_.max() > better - 0.1
    model.set_params(n_clusters=4)
    with pytest.raises(ValueError, match="fitted with a different network"):
        model.fit(X)
    parts = IICClusterer(3, **QUICK)
    for _ in range(40):
        parts.partial_fit(X[:50]).partial_fit(X[50:])
    assert parts.n_iter_ == 80
    assert parts.score(X) > 0.8 * np.log(3)


def test_input_in_other_units_and_places_gives_the_same_clusters(blobs):
    X, _ = blobs
    model = IICClusterer(3, **QUICK)
    model.fit(X)
    moved = clone(model).fit(1000 + 64 * X)
    assert_same_labels(moved.labels_, model.labels_, model.predict_proba(X), margin=0.01)


def test_classes_of_unequal_size(unequal):
    """With the mutual information itself; a weight of 2 splits the largest class."""
    X, y = unequal
    assert adjusted_rand_score(y, IICClusterer(3, random_state=0).fit(X).labels_) > 0.95
    assert adjusted_rand_score(y, IICClusterer(3, entropy_weight=2.0, random_state=0).fit(X).labels_) < 0.7


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("n", "params", "n_epochs"),
    [
        (30, {}, 60),  # one step per epoch
        (30, {"batch_size": 10}, 20),
        (300, {"batch_size": 10}, 3),  # at least
        (30, {"init": "random"}, 300),
        (30, {"max_epochs": 2}, 2),
    ],
)
def test_epochs_are_counted_in_steps(n, params, n_epochs):
    X = np.random.RandomState(0).rand(n, 2)
    assert IICClusterer(2, n_heads=1, random_state=0, **params).fit(X).n_iter_ == n_epochs


def test_warnings(blobs):
    X, _ = blobs
    with pytest.warns(ConvergenceWarning, match="never left the uniform solution"):
        IICClusterer(2, max_epochs=1, random_state=0).fit(np.ones((10, 4, 4)))
    with pytest.warns(ConvergenceWarning, match="clusters are empty"):
        IICClusterer(20, **QUICK | {"max_epochs": 3}).fit(X)
    with pytest.warns(ConvergenceWarning, match=r" 0\.0% "):  # not -0.0%, whatever rounding makes of it
        model = IICClusterer(3, max_epochs=1, init="random", random_state=0).fit(np.ones((50, 4)))
    assert model.mutual_information_.min() >= 0
    assert model.score(np.ones((50, 4))) >= 0


@pytest.mark.parametrize(
    ("params", "X", "message"),
    [
        ({"n_clusters": 0}, np.eye(4), "n_clusters"),
        ({"n_clusters": 5}, np.eye(4), "n_samples=4 should be >= n_clusters=5"),
        ({"batch_size": 1}, np.eye(4), "batch_size=1 should be >= n_clusters=2"),
        ({}, np.array([[0.0, 1], [np.nan, 1], [1, 1]]), "NaN"),
        ({}, np.full((3, 4, 4), np.nan), "image 0 contains NaN"),
        ({"image_shape": (3, 2)}, np.eye(4), "image_shape"),
        ({"pairs": "transform"}, np.eye(4), "requires images"),
        ({"network": "vgg"}, np.eye(4), "requires images"),
        ({"pairs": "explicit"}, np.eye(4), r"of shape \(n, 2, ...\)"),
        ({"pairs": "explicit"}, np.zeros((2, 3, 4)), r"of shape \(n, 2, ...\)"),
        ({"pairs": "explicit"}, [[[1.0, 2], [1.0]], [[1.0, 2], [2.0, 1]]], "pairs of samples of equal shape"),
        ({"pairs": "explicit"}, np.zeros((1, 2, 4)), "n_pairs=1"),
        ({"pairs": lambda x, generator: x.repeat(2, 1)}, np.eye(4), "transforms changed the shape of the samples"),
    ],
)
def test_bad_input(params, X, message):
    with pytest.raises(ValueError, match=message):
        IICClusterer(**{"n_clusters": 2, **params}).fit(X)


def test_one_cluster(blobs):
    model = IICClusterer(1, **QUICK | {"max_epochs": 2}).fit(blobs[0])
    assert not model.labels_.any()
    assert model.score(blobs[0]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(model.predict_proba(blobs[0]), 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
def test_a_failed_fit_leaves_the_model(blobs):
    X, _ = blobs
    model = IICClusterer(3, **QUICK | {"max_epochs": 2}).fit(X)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="n_samples=2"):
        model.fit(X[:2])
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_random_start(blobs):
    X, y = blobs
    merged, random = (IICClusterer(3, init=init, **QUICK).partial_fit(X) for init in ("merge", "random"))
    assert merged.mutual_information_.max() > random.mutual_information_.max()
    assert adjusted_rand_score(y, IICClusterer(3, init="random", **QUICK).fit(X).labels_) > 0.9


class _Stops(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > self.epoch:
            raise KeyboardInterrupt


def _fit_in_pieces(model, X, *epochs):
    """Fits that are interrupted in such epochs, and one that is not."""
    for epoch in epochs:
        with pytest.raises(KeyboardInterrupt):
            clone(model).set_params(callbacks=[_Stops(epoch)]).fit(X)
    return clone(model).fit(X)


@pytest.mark.parametrize("params", [{}, {"n_overclusters": 6}, {"optimizer": "sgd", "learning_rate_decay": None}])
def test_goes_on_bit_for_bit(blobs, tmp_path, params):
    """Bit for bit but for BLAS, which with several threads need not round twice alike."""
    X, _ = blobs
    model = IICClusterer(3, **QUICK | {"max_epochs": 7, "batch_size": 40} | params)
    whole = clone(model).fit(X)
    file = tmp_path / "folder" / "fit"
    pieces = _fit_in_pieces(model.set_params(checkpoint=file), X, 2, 5)
    assert_close(pieces.predict_proba(X), whole.predict_proba(X), rtol=1e-6)
    assert_close([row["loss"] for row in pieces.history_], [row["loss"] for row in whole.history_], rtol=1e-6)
    assert [row["epoch"] for row in pieces.history_] == list(range(1, 8))
    assert not file.exists()


def test_goes_on_waiting(blobs, tmp_path):
    """What stops when nothing improves stops in the same epoch."""
    X, _ = blobs
    model = IICClusterer(3, **QUICK | {"tol": 0.5, "n_iter_no_change": 4})
    pieces = _fit_in_pieces(clone(model).set_params(checkpoint=tmp_path / "fit"), X, 2)
    assert pieces.n_iter_ == clone(model).fit(X).n_iter_ < 10


def test_an_interrupted_model_goes_on_as_it_would_have(blobs, tmp_path):
    """The epochs that it has made already are not counted twice, whether its fit was the first or went on itself."""
    X, _ = blobs
    model = IICClusterer(3, warm_start=True, **QUICK | {"max_epochs": 5})
    whole = clone(model).fit(X)
    model.set_params(checkpoint=tmp_path / "fit")
    for n_fits in (1, 2):
        model.set_params(callbacks=[_Stops(2)])
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
        model.set_params(callbacks=None).fit(X)
        assert [row["epoch"] for row in model.history_] == list(range(1, 5 * n_fits + 1))
        assert_close(model.predict_proba(X), whole.predict_proba(X), rtol=1e-6)
        assert_close(model.mutual_information_, whole.mutual_information_, rtol=1e-6)
        whole.fit(X)


def test_parts_leave_the_checkpoint_of_a_fit_alone(blobs, tmp_path):
    X, _ = blobs
    file = tmp_path / "fit"
    model = IICClusterer(3, checkpoint=file, callbacks=[_Stops(2)], **QUICK | {"max_epochs": 7})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert clone(model).set_params(callbacks=None).partial_fit(X).n_iter_ == 1
    assert clone(model).set_params(callbacks=None).fit(X).n_iter_ == 7


def test_checkpoints_of_other_pairs(blobs, tmp_path):
    X, y = blobs
    X = X[y.argsort()]
    file = tmp_path / "fit"
    params = QUICK | {"max_epochs": 4, "pairs": "temporal", "n_overclusters": 6}
    model = IICClusterer(3, checkpoint=file, callbacks=[_Stops(2)], **params)
    groups, auxiliary = np.arange(90) // 30, np.arange(90) < 9
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, groups=groups, auxiliary=auxiliary)
    for others in ({"groups": groups}, {"groups": groups // 2, "auxiliary": auxiliary}):
        with pytest.raises(ValueError, match="belongs to a fit with different groups or auxiliary samples"):
            clone(model).fit(X, **others)


def test_a_checkpoint_of_a_fit_that_went_on_needs_the_model_that_it_went_on_with(blobs, tmp_path):
    X, _ = blobs
    model = IICClusterer(3, warm_start=True, **QUICK | {"max_epochs": 5}).fit(X)
    model.set_params(checkpoint=tmp_path / "fit", callbacks=[_Stops(2)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    message = "belongs to a fit from epoch 5 to epoch 7, but this model has been trained for 0 epochs"
    with pytest.raises(ValueError, match=message):
        clone(model).fit(X)


def test_checkpoints_of_other_fits(blobs, tmp_path):
    X, _ = blobs
    file = tmp_path / "fit"
    model = IICClusterer(3, checkpoint=str(file), callbacks=[_Stops(2)], **QUICK | {"max_epochs": 7})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    with pytest.raises(ValueError, match="belongs to a fit with different learning_rate"):
        clone(model).set_params(learning_rate=0.02).fit(X)
    with pytest.raises(ValueError, match=r"belongs to a fit with different samples\. Delete the file"):
        clone(model).fit(X + 1)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"is damaged\. Delete it to start again"):
        clone(model).fit(X)


@pytest.mark.parametrize(
    ("n", "on_rows", "on_images"), [(90, 60, 300), (20_000, 3, 15), (100_000, 3, 3), (150_000, 2, 3), (1_000_000, 1, 3)]
)
def test_many_rows_need_few_passes(n, on_rows, on_images):
    """Rows that start from merged clusters need 60 to 300 steps, whatever their number."""
    for size, expected in (((1,), on_rows), ((1, 1, 1), on_images)):
        data = SimpleNamespace(samples=torch.zeros(1).expand(n, *size), main=range(n))
        assert IICClusterer()._n_epochs(data) == expected


@pytest.mark.slow
def test_digits():
    """Clearly above k-means, which is right in 79 %. Solutions with 89 to 95 % have almost the same information."""
    X, y = load_digits(return_X_y=True)
    scores = [one_to_one_accuracy(y, IICClusterer(10, random_state=seed).fit(X).labels_) for seed in range(3)]
    assert min(scores) >= 0.87
    assert np.mean(scores) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_digits_with_a_weight_for_classes_of_equal_size(seed):
    X, y = load_digits(return_X_y=True)
    model = IICClusterer(10, entropy_weight=2.0, random_state=seed).fit(X)
    assert one_to_one_accuracy(y, model.labels_) >= 0.93


BYTES = np.arange(5 * 6 * 7 * 3, dtype=np.uint8).reshape(5, 6, 7, 3)


def read(X, reader=SAMPLES, **parameters):
    return samples_of(reader.read(IICClusterer(**parameters), X, reset=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_stay_as_they_are(dtype):
    images = BYTES.astype(dtype)
    for X in (images, torch.from_numpy(images), list(images)):
        samples = read(X)
        assert samples.dtype == torch.from_numpy(images).dtype
        np.testing.assert_array_equal(samples, images)
    assert read(images).data_ptr() == images.__array_interface__["data"][0]  # not a copy


def test_images_of_half_precision_are_read_as_float32():
    samples = read(BYTES.astype(np.float16))
    assert samples.dtype == torch.float32
    np.testing.assert_array_equal(samples, BYTES.astype(np.float32))


def test_rows_are_features_unless_they_have_the_shape_of_images():
    rows = BYTES.reshape(5, -1)
    assert read(rows).dtype == torch.float32
    np.testing.assert_array_equal(read(rows), rows)
    np.testing.assert_array_equal(read(rows, image_shape=(6, 7, 3)), BYTES)


def test_pairs_follow_each_other():
    pairs = np.stack([BYTES, 255 - BYTES], axis=1)
    np.testing.assert_array_equal(read(pairs, PAIRS), pairs.reshape(10, 6, 7, 3))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (BYTES.reshape(5, -1), "fitted on images, but X contains rows"),
        (BYTES[:, :3], "3 x 7 pixels, but IICClusterer was fitted on images of 6 x 7"),
        (np.stack([BYTES, BYTES], 1), "contains pairs"),
    ],
)
def test_samples_of_another_kind_than_in_fit_are_refused(X, message):
    fitted = IICClusterer()
    fitted._state, fitted.n_features_in_ = {"sample_shape": [6, 7, 3], "n_channels": 3}, 126
    with pytest.raises(ValueError, match=message):
        SAMPLES.read(fitted, X)


SIZED = {"image_size": 12, "network": "mlp", "n_heads": 2, "n_clusters": 2, "max_epochs": 2, "random_state": 0}


@pytest.fixture
def photographs(tmp_path):
    """A folder of 7 images, one of them not square, its files, the images, and the squares into which they fit."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    folder = tmp_path / "photos"
    write_images(folder, 6)
    cv2.imwrite(str(folder / "wide.png"), np.random.RandomState(0).randint(256, size=(20, 30, 3)).astype(np.uint8))
    files = sorted(map(str, folder.iterdir()))
    images = [read_image(file) for file in files]
    return str(folder), files, images, np.stack([fit_into(image, 12) for image in images])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
def test_images_of_several_sizes_are_fitted_into_squares(photographs):
    *several, squares = photographs
    expected = IICClusterer(**{**SIZED, "image_size": None}).fit(squares)
    for X in (*several, [torch.as_tensor(image) for image in several[-1]], squares):
        model = IICClusterer(**SIZED).fit(X)
        np.testing.assert_array_equal(model.labels_, expected.labels_)
        for method in ("transform", "predict_proba"):
            assert_close(getattr(model, method)(X), getattr(expected, method)(squares))
        np.testing.assert_array_equal(model.predict(X), expected.predict(squares))
        assert model.score(X) == pytest.approx(expected.score(squares), abs=1e-5)
    assert_close(model.transform([several[-1][6]]), expected.transform(squares[6:]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_copies_of_a_model_resize_images_too(photographs, tmp_path):
    folder, _, images, squares = photographs
    model = IICClusterer(**SIZED).fit(folder)
    save(model, tmp_path / "model")
    expected = model.transform(squares)
    pieces = clone(model).set_params(checkpoint=tmp_path / "fit", callbacks=[Interrupts(2)])
    with pytest.raises(KeyboardInterrupt):
        pieces.fit(folder)
    pieces = clone(pieces).set_params(callbacks=None).fit(folder)
    for copied in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model"), clone(model).fit(images), pieces):
        assert_close(copied.transform(images), expected)
    module = model.to_module("transform")
    assert_close(module(torch.from_numpy(squares)), expected)
    parts = IICClusterer(**SIZED).partial_fit(folder).partial_fit(images[:6])
    assert parts.labels_.shape == (6,)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_images_of_several_sizes_need_an_image_size(photographs):
    folder, files, images, _ = photographs
    plain = IICClusterer(**{**SIZED, "image_size": None})
    for X in (folder, files, images):
        with pytest.raises(ValueError, match=r"differ in size: .* Set image_size, to which they are resized"):
            clone(plain).fit(X)
    plain.fit(files[:6])  # all of one size
    with pytest.raises(ValueError, match="Set image_size"):
        plain.predict(files)
    with pytest.raises(ValueError, match="X must hold pairs of samples of equal shape"):
        IICClusterer(**SIZED, pairs="explicit").fit(files)


@pytest.mark.parametrize("image_shape", [None, (12, 12)])
def test_flat_rows_are_not_resized(bars, image_shape):
    rows = bars[0].reshape(60, -1)
    settings = {**SIZED, "image_shape": image_shape}
    sized, plain = (IICClusterer(**{**settings, "image_size": size}).fit(rows) for size in (5, None))
    assert sized.n_features_in_ == 144
    np.testing.assert_array_equal(sized.transform(rows), plain.transform(rows))


def test_rows_with_many_copies(answers):
    """A fifth of the rows of the larger cluster are equal. They are no cluster of their own."""
    X, y = answers
    assert one_to_one_accuracy(y, IICClusterer(2, random_state=0).fit(X).labels_) > 0.97


def test_most_rows_are_copies():
    """Nine of ten rows of a cluster are equal, and the others differ much."""
    rng = np.random.RandomState(0)
    y = rng.randint(0, 8, 800)
    X = 2 * rng.normal(size=(8, 10))[y] + (rng.uniform(size=(800, 1)) < 0.1) * rng.normal(size=(800, 10))
    assert one_to_one_accuracy(y, IICClusterer(8, random_state=0).fit(X.astype(np.float32)).labels_) > 0.97


def test_fewer_neighbours_in_small_clusters(small_groups):
    X, y = small_groups
    assert one_to_one_accuracy(y, IICClusterer(10, random_state=0).fit(X).labels_) > 0.97
