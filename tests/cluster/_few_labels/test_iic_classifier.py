"""A clusterer's trunk fine-tuned with labels: what is learned at which rate, views, labels of all kinds, files."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from photographs import write_images
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from tolerance import assert_close, assert_same_labels

from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.cluster._few_labels._view_features import fixed_views
from sklinvariant.cluster._iic._pair_sources import views_of
from sklinvariant.images import read_image
from sklinvariant.images._pixels import fit_into

CLUSTERER = IICClusterer(3, n_neighbors=5, n_heads=2, max_epochs=10, batch_size=30, random_state=0)


@pytest.fixture(scope="module")
def blobs():
    """Rows of three blobs, their classes, those of which most are hidden, and a clusterer fitted to all."""
    X, y = make_blobs(90, n_features=4, centers=3, cluster_std=0.5, random_state=0)
    few = np.where(np.arange(90) < 12, y, -1)
    return X, y, few, FrozenEstimator(clone(CLUSTERER).fit(X))


@pytest.fixture(scope="module")
def bars():
    """60 images 12 × 12 of a horizontal or a vertical bar somewhere, and a clusterer of them."""
    rng = np.random.RandomState(0)
    images, kinds = np.zeros((60, 12, 12), np.float32), np.arange(60) % 2
    for image, kind, at in zip(images, kinds, rng.randint(3, 9, 60), strict=True):
        (image if kind else image.T)[at] = 1
    images += 0.05 * rng.rand(60, 12, 12).astype(np.float32)
    clusterer = IICClusterer(2, network="mlp", n_heads=2, max_epochs=5, batch_size=20, random_state=0)
    return images, kinds, FrozenEstimator(clusterer.fit(images))


def test_few_labels_are_enough(blobs):
    X, y, few, _ = blobs
    model = IICClassifier(CLUSTERER, random_state=0).fit(X, few)
    assert model.score(X, y) > 0.95
    assert not hasattr(CLUSTERER, "labels_")  # a clone was fitted
    assert model.clusterer_.labels_.shape == (90,)
    proba, scores = model.predict_proba(X), model.decision_function(X)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), proba, rtol=1e-5)
    assert_same_labels(model.predict(X), model.classes_[scores.argmax(1)], scores)
    features = model.transform(X)
    np.testing.assert_allclose(features @ model.coef_.T + model.intercept_, scores, rtol=1e-5, atol=1e-6)
    assert features.shape == (90, 256 + 4)
    assert list(model.set_output(transform="pandas").transform(X).columns) == list(model.get_feature_names_out())
    assert len(model.history_) == model.n_iter_ == 50
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]
    assert model.n_features_in_ == 4


def test_without_an_epoch_it_is_a_logistic_regression_of_the_features(blobs):
    """The trunk is left as it is, and the linear model is scikit-learn's on its features scaled to a mean norm of 1."""
    X, y, few, fitted = blobs
    weight_decay = 0.01
    model = IICClassifier(fitted, max_epochs=0, passthrough=False, weight_decay=weight_decay).fit(X, few)
    features = fitted.transform(X)
    assert_close(model.transform(X), features)
    scaled = features / np.sqrt(np.square(features[:12]).sum(1).mean())
    regression = LogisticRegression(C=1 / (12 * weight_decay), tol=1e-10, max_iter=10_000).fit(scaled[:12], y[:12])
    np.testing.assert_allclose(model.predict_proba(X), regression.predict_proba(scaled), atol=1e-3)
    assert model.history_ == []


def test_the_linear_model_is_given_the_rows(blobs):
    """Rows that are scaled as in the clusterer and to half the norm of its features on the labelled rows."""
    X, _, few, _ = blobs
    X = X * [1, 1, 1, 100]
    clusterer = FrozenEstimator(clone(CLUSTERER).fit(X))
    model = IICClassifier(clusterer, max_epochs=0).fit(X, few)
    features, rows = np.split(model.transform(X), [256], axis=1)
    assert_close(features, clusterer.transform(X))
    assert_close(4 * np.square(rows[:12]).sum(1).mean(), np.square(features[:12]).sum(1).mean())
    spread = rows.std(0) / X.std(0)
    assert spread[3] < 0.1 * spread[0]  # standardised
    assert IICClassifier(clusterer, max_epochs=0, passthrough=False).fit(X, few).coef_.shape == (3, 256)


def test_constant_rows_are_passed_through():
    X, y = np.ones((20, 3)), np.arange(20) % 2
    clusterer = IICClusterer(2, n_heads=1, n_neighbors=3, max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = IICClassifier(clusterer, max_epochs=1, random_state=0).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


def test_warm_start_keeps_passthrough(blobs):
    X, _, few, fitted = blobs
    model = IICClassifier(fitted, max_epochs=1, warm_start=True, random_state=0).fit(X, few)
    with pytest.raises(ValueError, match="passthrough=False differs from True in the previous fit"):
        model.set_params(passthrough=False).fit(X, few)
    model.set_params(warm_start=False).fit(X, few)
    assert model.coef_.shape == (3, 256)
    del model._state["row_gain"]  # as in models saved by earlier versions
    assert model.set_params(warm_start=True, passthrough=True).fit(X, few).coef_.shape == (3, 256)


def test_heads_at_one_rate_and_the_trunk_at_another(blobs):
    X, _, few, fitted = blobs
    rates = {}
    params = {"max_epochs": 2, "passthrough": False, "learning_rate": 0.01, "learning_rate_decay": None}
    params["random_state"] = 0

    class Look(Callback):
        def on_train_begin(self, net, **kwargs):
            names = {id(p): name for name, p in net.module_.named_parameters()}
            for group in net.optimizer_.param_groups:
                rates.update({names[id(p)]: group["lr"] for p in group["params"]})

    model = IICClassifier(fitted, trunk_learning_rate=0.003, callbacks=[Look()], **params).fit(X, few)
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {0.01}
    assert {rate for name, rate in rates.items() if name.startswith("trunk.")} == {0.003}
    assert len(rates) == 2 + 6
    before = fitted.transform(X)
    assert not np.allclose(model.transform(X), before)
    still = IICClassifier(fitted, trunk_learning_rate=0, **params).fit(X, few)
    assert_close(still.transform(X), before)
    start = IICClassifier(fitted, **params | {"max_epochs": 0}).fit(X, few)
    assert not np.allclose(still.coef_, start.coef_)
    np.testing.assert_array_equal(fitted.transform(X), before)  # the clusterer is left as it was


def test_beats_logistic_regression_on_the_same_labels(global_random_seed):
    """50 labels of digits; the clusterer sees the others too."""
    X, y = load_digits(return_X_y=True)
    rows = np.random.RandomState(global_random_seed).permutation(len(y))
    learned, new = rows[:900], rows[900:]
    few = np.where(np.arange(900) < 50, y[learned], -1)
    clusterer = IICClusterer(10, max_epochs=10, random_state=global_random_seed)
    model = IICClassifier(clusterer, random_state=global_random_seed).fit(X[learned], few)
    plain = LogisticRegression(max_iter=2000).fit(X[learned[:50]] / 16, y[learned[:50]])
    assert model.score(X[new], y[new]) > plain.score(X[new] / 16, y[new]) + 0.05


def test_changes_are_the_clusterers(bars):
    images, kinds, fitted = bars
    seen = []

    def own(samples, generator):
        seen.append(samples.shape)
        return samples

    model = IICClassifier(fitted, transforms=own, max_epochs=3, batch_size=20, random_state=0).fit(images, kinds)
    assert seen == [(20, 12, 12, 1)] * 9
    same = IICClassifier(fitted, transforms=None, max_epochs=3, batch_size=20, random_state=0).fit(images, kinds)
    assert_close(model.predict_proba(images), same.predict_proba(images), rtol=1e-3)
    turned = IICClassifier(fitted, max_epochs=3, batch_size=20, random_state=0).fit(images, kinds)
    assert not np.allclose(turned.predict_proba(images), same.predict_proba(images), atol=0.01)


def test_parts(blobs):
    """A part is one epoch; parts may lack a class."""
    X, y, few, fitted = blobs
    settings = {"learning_rate_decay": None, "random_state": 0}
    whole = IICClassifier(fitted, max_epochs=1, **settings).fit(X, few)
    model = IICClassifier(fitted, **settings).partial_fit(X, few)
    assert_close(model.predict_proba(X), whole.predict_proba(X), rtol=1e-5)
    model.partial_fit(X, few).set_params(warm_start=True, max_epochs=1)
    assert_close(model.predict_proba(X), whole.set_params(warm_start=True).fit(X, few).predict_proba(X), rtol=1e-5)
    assert model.n_iter_ == len(model.history_) == 2
    in_parts = IICClassifier(fitted, learning_rate=0.1, **settings).partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert in_parts.classes_.tolist() == [0, 1, 2]
    for start in [*range(0, 90, 10)] * 5:
        in_parts.partial_fit(X[start : start + 10], y[start : start + 10])
    assert in_parts.n_iter_ == 1 + 45
    assert in_parts.score(X, y) > 0.9
    own = IICClassifier(CLUSTERER, **settings).partial_fit(X, few)
    before = own.clusterer_
    assert own.partial_fit(X[:30], y[:30]).clusterer_ is before


def test_parts_that_are_refused(blobs):
    X, y, few, fitted = blobs
    model = IICClassifier(fitted, random_state=0)
    with pytest.raises(ValueError, match="needs labels of at least 2 classes, but all labels are of one class, 0"):
        model.partial_fit(X, np.where(y == 0, y, -1))
    with pytest.raises(ValueError, match="the class 2, which is not one of the classes"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes contains unlabeled_value=-1"):
        model.partial_fit(X, few, classes=[-1, 0, 1, 2])
    with pytest.raises(ValueError, match='class_weight="balanced" is not supported by partial_fit'):
        clone(model).set_params(class_weight="balanced").partial_fit(X, few)
    with pytest.raises(ValueError, match="does not support early_stopping=True"):
        clone(model).set_params(early_stopping=True).partial_fit(X, few)
    assert not hasattr(model, "_state")
    model.partial_fit(X, few, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same as in the first call of partial_fit"):
        model.partial_fit(X, few, classes=["a", "b", "c"])


def test_views_are_averaged(bars):
    images, kinds, fitted = bars
    model = IICClassifier(fitted, max_epochs=2, n_views=4, random_state=0).fit(images, kinds)
    features = model.transform(images)
    np.testing.assert_array_equal(model.transform(images), features)  # the same views each time
    np.testing.assert_allclose(model.transform(images[7:9]), features[7:9], rtol=1e-5, atol=1e-6)
    one = clone(model).set_params(n_views=1).fit(images, kinds)
    views = fixed_views(torch.tensor(images)[..., None], views_of(fitted.estimator, 4, 1), 4, model._state["seed"])
    expected = np.mean([one.transform(view[..., 0].numpy()) for view in views], axis=0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        features @ model.coef_.T + model.intercept_, model.decision_function(images)[:, None], rtol=1e-4, atol=1e-4
    )


def test_labels_of_all_kinds(blobs):
    X, _, few, fitted = blobs
    model = IICClassifier(fitted, max_epochs=2, random_state=0)
    expected = clone(model).fit(X, few)
    words = np.array(["a", "b", "c"], dtype=object)
    hidden = np.where(few < 0, -1, words[few])
    named = clone(model).fit(X, hidden)
    assert named.classes_.tolist() == ["a", "b", "c"]
    proba = expected.predict_proba(X)
    assert_same_labels(named.predict(X), words[expected.predict(X)], proba)
    assert named.score(X, hidden) == pytest.approx(expected.score(X, few))
    for labels in (few.tolist(), few.astype(float), pd.Series(few), torch.tensor(few)):
        assert_same_labels(clone(model).fit(X, labels).predict(X), expected.predict(X), proba)
    marked = clone(model).set_params(unlabeled_value="?").fit(X, np.where(few < 0, "?", words[few].astype(str)))
    assert_same_labels(marked.predict(X), named.predict(X), proba)
    signs = np.where(few > 0, 1, -1)
    both = clone(model).set_params(unlabeled_value=None).fit(X, signs)
    assert both.classes_.tolist() == [-1, 1]
    assert both.decision_function(X).shape == (90,)
    scores = both.decision_function(X)
    assert_same_labels(both.predict(X), np.where(scores > 0, 1, -1), scores)
    assert both.predict_proba(X).shape == (90, 2)


def test_rows_without_a_label_only_train_the_clusterer(blobs):
    X, y, few, fitted = blobs
    model = IICClassifier(fitted, max_epochs=3, random_state=0)
    proba = clone(model).fit(X, few).predict_proba(X)
    assert_close(clone(model).fit(X[:12], y[:12]).predict_proba(X), proba, rtol=1e-3)


def test_weights_of_classes(blobs):
    X, y, _, fitted = blobs
    model = IICClassifier(fitted, max_epochs=0, weight_decay=1.0, class_weight={0: 1, 1: 1, 2: 50})
    heavy, plain = (
        m.fit(X, y).predict_proba(X)[:, 2].mean() for m in (model, clone(model).set_params(class_weight=None))
    )
    assert heavy > plain + 0.1
    with pytest.raises(ValueError, match="class_weight"):
        clone(model).set_params(class_weight={7: 1.0}).fit(X, y)


def test_colour_images_of_whole_numbers():
    images = np.random.RandomState(0).randint(0, 256, (12, 8, 9, 3)).astype(np.uint8)
    clusterer = IICClusterer(2, network="resnet", init="random", n_heads=1, max_epochs=1, random_state=0)
    fitted = FrozenEstimator(clusterer.partial_fit(images))
    model = IICClassifier(fitted, max_epochs=1, n_views=2, random_state=0).fit(list(images), np.arange(12) % 3)
    assert model.predict_proba(images).shape == (12, 3)
    assert model.transform(images).dtype == np.float32
    assert np.isfinite(model.predict_proba(images[:1])).all()  # a batch of one image
    assert_close(model.predict_proba(images / np.float32(255)), model.predict_proba(images), atol=1e-4)


def test_flat_rows_of_pixels(bars):
    images, kinds, fitted = bars
    model = IICClassifier(fitted, max_epochs=2, n_views=2, random_state=0).fit(images, kinds)
    clusterer = clone(fitted.estimator).set_params(image_shape=(12, 12)).fit(images.reshape(60, -1))
    flat = IICClassifier(FrozenEstimator(clusterer), max_epochs=2, n_views=2, random_state=0)
    flat.fit(images.reshape(60, -1), kinds)
    assert_close(flat.predict_proba(images.reshape(60, -1)), model.predict_proba(images), rtol=0.02)


def test_a_clusterer_of_explicit_pairs(blobs):
    X, y, few, _ = blobs
    order = np.argsort(y, kind="stable")
    pairs = np.stack([X[order[:-1]], X[order[1:]]], 1)
    fitted = FrozenEstimator(clone(CLUSTERER).set_params(pairs="explicit").fit(pairs))
    assert IICClassifier(fitted, max_epochs=1).fit(X, few).score(X, y) > 0.9


def test_seeds(bars):
    images, kinds, fitted = bars
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = IICClassifier(fitted, max_epochs=2, batch_size=10, n_views=3, random_state=0).fit(images, kinds)
    again = clone(model).fit(images, kinds)
    assert_close(model.predict_proba(images), again.predict_proba(images), rtol=1e-3)
    other = clone(model).set_params(random_state=1).fit(images, kinds)
    assert not np.allclose(model.predict_proba(images), other.predict_proba(images), atol=0.01)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_search_and_pipeline(blobs):
    X, y, few, fitted = blobs
    grid = {"trunk_learning_rate": [0, 1e-3], "weight_decay": [1e-4]}
    search = GridSearchCV(IICClassifier(fitted, max_epochs=2), grid, cv=KFold(2)).fit(X[:40], y[:40])
    assert search.best_score_ > 0.9
    model = IICClassifier(CLUSTERER, max_epochs=2, random_state=0).set_params(clusterer__max_epochs=3)
    assert make_pipeline(StandardScaler(), model).fit(X, few).score(X, y) > 0.9


def test_metadata_goes_to_the_clusterer(blobs):
    X, y, _, _ = blobs
    order = np.argsort(y, kind="stable")
    clusterer = clone(CLUSTERER).set_params(pairs="temporal")
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        IICClassifier(clusterer).fit(X[order], y[order], groups=y[order])
    with config_context(enable_metadata_routing=True):
        model = IICClassifier(clusterer.set_fit_request(groups=True), max_epochs=1)
        with pytest.raises(ValueError, match="no two consecutive frames"):
            model.fit(X, y, groups=np.arange(90))
        assert model.fit(X[order], y[order], groups=y[order]).score(X, y) > 0.95


def test_a_fit_that_fails_changes_nothing(blobs):
    X, _, few, fitted = blobs
    model = IICClassifier(fitted, max_epochs=1).fit(X, few)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), few)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        model.set_params(learning_rate=1e300, trunk_learning_rate=1e300, optimizer="sgd", max_epochs=9).fit(X, few)
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1] * 4, "y has no label: all 4 samples are unlabeled_value=-1"),
        (np.array(["a", "b", -1, "a"]), "string labels with unlabeled_value=-1 must have dtype object"),
        ([0, 1, None, 1], "y contains NaN or None"),
        (None, "requires y to be passed"),
        ([0, 1, 0.5, -1], "Unknown label type"),
        ([0, 1], "inconsistent numbers of samples"),
        ([3, 3, 3, 3], "at least 2 classes, but all labels are of one class, 3$"),
        ([1, -1, 1, 1], "Rows with unlabeled_value=-1 count as unlabelled"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        IICClassifier(IICClusterer(2)).fit(np.eye(4), y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"clusterer": KMeans(2)}, "'clusterer' parameter of IICClassifier must be an instance of"),
        ({"clusterer": FrozenEstimator(KMeans(2))}, "must be an IICClusterer, frozen or not, got a frozen KMeans"),
        ({"clusterer": IICClusterer(2, pairs="explicit")}, "Fit it first"),
        ({"clusterer": IICClusterer(9)}, "n_samples=4 should be >= n_clusters=9"),
        ({"n_views": 0}, "n_views"),
        ({"trunk_learning_rate": -1.0}, "trunk_learning_rate"),
        ({"transforms": "crops"}, "transforms"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        IICClassifier(**{"clusterer": IICClusterer(2), **params}).fit(np.eye(4), [0, 1, 0, 1])


def test_samples_of_another_kind(bars):
    images, kinds, fitted = bars
    model = IICClassifier(fitted, max_epochs=1).fit(images, kinds)
    with pytest.raises(ValueError, match="10 x 12 pixels"):
        model.predict(images[:, :10])
    with pytest.raises(ValueError, match="fitted on images, but X contains rows"):
        model.predict(images.reshape(60, -1))
    with pytest.raises(NotFittedError):
        IICClassifier(FrozenEstimator(IICClusterer(2))).fit(images, kinds)
    with pytest.raises(ValueError, match="transforms changed the shape of the samples"):
        IICClassifier(fitted, transforms=lambda x, generator: x[:, :4]).fit(images, kinds)


def test_early_stopping_is_refused_before_the_clusterer_is_fitted(blobs, monkeypatch):
    X, y, _, _ = blobs
    monkeypatch.setattr(IICClusterer, "fit", lambda *args, **kwargs: pytest.fail("the clusterer was fitted"))
    few = np.where(np.arange(len(y)) < 4, np.arange(len(y)) % 2, -1)
    with pytest.raises(ValueError, match="would hold out 1 of 4 samples"):
        IICClassifier(IICClusterer(3), early_stopping=True).fit(X, few)


def test_a_frozen_clusterer_reads_only_labelled_samples(blobs):
    X, _, few, fitted = blobs
    model = IICClassifier(fitted, max_epochs=1, random_state=0)
    expected = clone(model).fit(X[few != -1], few[few != -1]).predict_proba(X)
    hidden = np.where((few == -1)[:, None], np.nan, X)
    assert_close(model.fit(hidden, few).predict_proba(X), expected)
    with pytest.raises(ValueError, match="NaN"):
        IICClassifier(clone(CLUSTERER)).fit(hidden, few)


def test_errors_in_labelled_samples_say_what_they_count(blobs):
    X, _, few, fitted = blobs
    wrong = np.where((few == 1)[:, None], np.inf, X)
    with pytest.raises(ValueError, match="infinity") as raised:
        IICClassifier(fitted).fit(wrong, few)
    assert raised.value.__notes__ == ["Positions and numbers of samples count the labelled samples of X only."]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
@pytest.mark.parametrize("frozen", [False, True])
def test_images_of_several_sizes_are_resized_by_the_clusterer(frozen, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    folder = tmp_path / "photos"
    write_images(folder, 8)
    cv2.imwrite(str(folder / "wide.png"), np.random.RandomState(0).randint(256, size=(20, 30, 3)).astype(np.uint8))
    files = sorted(map(str, folder.iterdir()))
    images = [read_image(file) for file in files]
    squares = np.stack([fit_into(image, 12) for image in images])
    few = np.array([0, 1, -1, 0, 1, -1, 0, 1, 0])
    plain = IICClusterer(2, network="mlp", n_heads=2, max_epochs=2, random_state=0)
    sized = clone(plain).set_params(image_size=12)
    if frozen:
        plain, sized = FrozenEstimator(plain.fit(squares)), FrozenEstimator(sized.fit(images))
    expected = IICClassifier(plain, max_epochs=3, random_state=0).fit(squares, few)
    for X in (images, files, str(folder)):
        model = IICClassifier(sized, max_epochs=3, random_state=0).fit(X, few)
        copied = pickle.loads(pickle.dumps(model))
        for method in ("transform", "predict_proba"):
            assert_close(getattr(copied, method)(X), getattr(expected, method)(squares))
    model.partial_fit(files[:2], [0, 1])
    assert_close(model.to_module("transform")(torch.from_numpy(squares)), model.transform(images))
    if not frozen:
        with pytest.raises(ValueError, match="Set image_size"):
            clone(expected).fit(files, few)


def test_a_labelled_file_that_cannot_be_read_is_counted_among_the_labelled(tmp_path):
    folder = tmp_path / "photos"
    write_images(folder, 4)
    files = sorted(map(str, folder.iterdir()))
    clusterer = IICClusterer(2, network="mlp", image_size=12, max_epochs=1, init="random", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = FrozenEstimator(clusterer.fit(files))
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(ValueError, match=r"image 2: .*broken\.png cannot be read") as caught:
        IICClassifier(frozen).fit([*files[:3], str(tmp_path / "broken.png")], [0, -1, 1, 1])
    assert "count the labelled samples" in caught.value.__notes__[0]


def test_a_column_of_images(bars):
    images, kinds, clusterer = bars
    model = IICClassifier(clusterer, max_epochs=1, random_state=0)
    expected = clone(model).fit(images, kinds).predict_proba(images)
    column = pd.Series(list(images), index=range(100, 160))
    assert_close(model.fit(column, kinds).predict_proba(column), expected)
