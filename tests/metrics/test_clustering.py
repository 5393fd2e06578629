"""Agreement of clusters with classes: against all possible maps, and invariances."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklinvariant.metrics import (
    _clustering,
    clustering_accuracy,
    make_clustering_scorer,
    many_to_one_accuracy,
    match_clusters,
)


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


def best_of_all_maps(y, c, n_classes, k, weight):
    """The best accuracy over all one-to-one maps of clusters to classes; clusters may be left without a class."""
    return max(
        np.average(np.asarray(places)[c] == y, weights=weight) for places in permutations(range(max(n_classes, k)), k)
    )


@pytest.mark.parametrize(("n_classes", "k"), [(3, 3), (2, 4), (4, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_best_of_all_one_to_one_maps(rng, n_classes, k, weighted):
    for _ in range(5):
        y, c = rng.integers(n_classes, size=15), rng.integers(k, size=15)
        weight = rng.random(15) if weighted else None
        expected = best_of_all_maps(y, c, n_classes, k, weight)
        assert clustering_accuracy(y, c, sample_weight=weight) == pytest.approx(expected)
        if not weighted:
            mapping = match_clusters(y, c, k, unmatched=-1)
            assert np.mean(mapping[c] == y) == pytest.approx(expected)
            used = mapping[mapping >= 0]
            assert len(set(used)) == len(used)


def test_best_of_all_many_to_one_maps(rng):
    y, c = rng.integers(3, size=20), rng.integers(4, size=20)
    best = max(np.mean(np.asarray(places)[c] == y) for places in product(range(3), repeat=4))
    assert many_to_one_accuracy(y, c, y_true_train=y, y_pred_train=c) == pytest.approx(best)
    mapping = match_clusters(y, c, match="many-to-one")
    assert np.mean(mapping[c] == y) == pytest.approx(best)


def test_the_map_is_that_of_the_training_split(rng):
    y, c, weight = rng.integers(3, size=60), rng.integers(6, size=60), rng.random(30)
    c[:30][c[:30] == 5] = 4  # of which there is nothing to learn: wrong
    mapping = match_clusters(y[:30], c[:30], 6, match="many-to-one")
    assert mapping[5] == -1
    got = many_to_one_accuracy(y[30:], c[30:], y_true_train=y[:30], y_pred_train=c[:30], sample_weight=weight)
    assert got == pytest.approx(np.average(mapping[c[30:]] == y[30:], weights=weight))


def test_neither_names_nor_order_matter(rng):
    y, c = rng.integers(4, size=200), rng.integers(5, size=200)
    y[:100] = c[:100] % 4
    order, name = rng.permutation(200), rng.permutation(5)
    words = np.array(["elk", "cat", "dog", "bee"])
    train = {"y_true_train": y, "y_pred_train": c}
    renamed = {"y_true_train": words[y], "y_pred_train": name[c] - 3}
    expected, purity = clustering_accuracy(y, c), many_to_one_accuracy(y, c, **train)
    assert expected < purity
    for classes, clusters in [
        (y[order], c[order]),
        (words[y], name[c] - 3),
        (words[y].astype(object), words[[0, 1, 2, 3, 3]][c].astype(object) + c.astype(str).astype(object)),
        (y * 10**12, c * -(10**15)),
        (y.astype(np.uint8), c.astype(float)),
        (torch.tensor(y), torch.tensor(c)),
        (y.tolist(), c.tolist()),
    ]:
        assert clustering_accuracy(classes, clusters) == expected
    assert many_to_one_accuracy(words[y], name[c] - 3, **renamed) == purity


def test_one_cluster_and_one_a_sample():
    y = np.repeat(np.arange(4), 5)
    assert clustering_accuracy(y, np.zeros(20, int)) == 0.25
    assert clustering_accuracy(y, np.arange(20)) == 0.2
    assert many_to_one_accuracy(y, np.arange(20), y_true_train=y, y_pred_train=np.arange(20)) == 1
    assert many_to_one_accuracy(y[::2], np.arange(10), y_true_train=y[1::2], y_pred_train=10 + np.arange(10)) == 0


def test_maps_of_pixels(rng, monkeypatch):
    y, c = rng.integers(4, size=(3, 7, 5)), rng.integers(3, size=(3, 7, 5))
    y[y == 3] = 255
    kept, weight = y != 255, rng.random(3)
    expected = clustering_accuracy(y[kept], c[kept])
    per_pixel = np.broadcast_to(weight[:, None, None], y.shape)
    weighted = clustering_accuracy(y[kept], c[kept], sample_weight=per_pixel[kept])
    assert clustering_accuracy(y[:1], c[:1], sample_weight=[3.0]) == pytest.approx(clustering_accuracy(y[:1], c[:1]))
    train = {"y_true_train": y[0], "y_pred_train": c[0]}
    mapping = match_clusters(y[0][kept[0]], c[0][kept[0]], match="many-to-one")
    for labels in (1 << 20, 4):  # at a time
        monkeypatch.setattr(_clustering, "_LABELS", labels)
        assert clustering_accuracy(y, c, ignore_label=255) == expected
        for w in (weight, per_pixel):
            assert clustering_accuracy(y, c, ignore_label=255, sample_weight=w) == pytest.approx(weighted)
        got = many_to_one_accuracy(y[1:], c[1:], **train, ignore_label=255)
        assert got == pytest.approx(np.mean((mapping[c] == y)[1:][kept[1:]]))


def test_maps_of_unequal_size(rng):
    shapes = [(4, 5), (2, 9), (3, 3)]
    y, c = ([rng.integers(3, size=shape) for shape in shapes] for _ in range(2))
    flat = [np.concatenate([part.ravel() for part in parts]) for parts in (y, c)]
    assert clustering_accuracy(y, c) == clustering_accuracy(*flat)
    weight = rng.random(3)
    expected = clustering_accuracy(*flat, sample_weight=np.repeat(weight, [20, 18, 9]))
    assert clustering_accuracy(y, c, sample_weight=weight) == pytest.approx(expected)
    pixels = [np.full(shape, w) for shape, w in zip(shapes, weight, strict=True)]
    assert clustering_accuracy(y, c, sample_weight=pixels) == pytest.approx(expected)
    np.testing.assert_array_equal(match_clusters(y, c), match_clusters(*flat))


def test_names_of_the_clusters_that_stand_for_nothing():
    y, c = np.array(["a", "a", "b"]), [0, 0, 3]
    assert match_clusters(y, c, match="many-to-one").tolist() == ["a", -1, -1, "b"]
    assert match_clusters(y, c, 6, unmatched="none").tolist() == ["a", "none", "none", "b", "none", "none"]
    assert match_clusters(np.uint8([7, 9]), [1, 0]).tolist() == [9, 7]
    assert match_clusters(np.uint8([7, 9]), [1, 0]).dtype == np.uint8
    with pytest.raises(ValueError, match="unmatched=-1 is also a class"):
        match_clusters([-1, 1], [0, 1], 3)


def test_scorer(rng):
    X, y = make_blobs(120, centers=4, cluster_std=0.3, random_state=0)
    model = make_pipeline(StandardScaler(), KMeans(4, random_state=0))
    scores = cross_val_score(model, X, y, scoring=make_clustering_scorer(), cv=3)
    assert scores.min() > 0.95
    assert make_clustering_scorer()(GaussianMixture(2, random_state=0).fit(X), X, y) <= 0.5
    unlabelled = np.where(rng.random(120) < 0.5, -1, y)
    assert make_clustering_scorer(ignore_label=-1)(model.fit(X), X, unlabelled) > 0.95
    with config_context(enable_metadata_routing=True):
        scorer = make_clustering_scorer().set_score_request(sample_weight=True)
        weight = (y == 0) + 1e-9
        got = cross_val_score(
            KMeans(1).set_fit_request(sample_weight=False), X, y, scoring=scorer, params={"sample_weight": weight}, cv=3
        )
    np.testing.assert_allclose(got, 1, atol=1e-6)


def test_scorer_of_more_clusters_than_classes(rng):
    """The map is not evaluated on the labels from which it is learned: clusters of one sample score nothing."""
    X = rng.normal(size=(60, 2))
    y = np.arange(60) % 3

    class Alone(KMeans):
        def predict(self, X):
            return np.arange(len(X))

    scorer = make_clustering_scorer("many-to-one")
    assert scorer(Alone(), X, y) == 0
    assert scorer(Alone(), X, y) == scorer(Alone(), X, y)
    X, y = load_digits(n_class=4, return_X_y=True)
    grid = {"n_clusters": [4, 30]}
    search = GridSearchCV(KMeans(random_state=0), grid, scoring=scorer, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    # by hand, fold by fold
    model, halves = KMeans(12, random_state=0).fit(X), make_clustering_scorer("many-to-one", n_splits=len(y))
    c = model.predict(X)
    right = 0
    for i in range(200):
        rest = np.arange(200) != i
        votes = np.bincount(y[:200][rest & (c[:200] == c[i])], minlength=4)
        right += votes.sum() > 0 and votes.argmax() == y[i]
    assert halves(model, X[:200], y[:200]) == pytest.approx(right / 200)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "kwargs", "message"),
    [
        ([0, 1], [0], {}, r"y_true and y_pred have shape \(2,\) and \(1,\)"),
        (
            [np.zeros((2, 2)), np.zeros(3)],
            [np.zeros((2, 2)), np.zeros(4)],
            {},
            r"y_true and y_pred have shapes \[\(2, 2\), \(3,\)\] and \[\(2,",
        ),
        ([], [], {}, "y_true is empty"),
        (None, [0], {}, "y_true is None"),
        ([0.5, 1], [0, 1], {}, "y_true contains fractions"),
        ([0, 1], [np.nan, 1], {}, "y_pred contains NaN"),
        ([0, 0], [0, 1], {"ignore_label": 0}, "no labels of positive weight other than ignore_label=0"),
        ([0, 0], [0, 1], {"sample_weight": [0, 0]}, "no labels of positive weight"),
        ([0, 0], [0, 1], {"sample_weight": [-1, 0]}, "sample_weight contains negative or non-finite values"),
        ([0, 0], [0, 1], {"sample_weight": [1]}, r"sample_weight has shape \(1,\)"),
        (np.array(["a", 1], object), [0, 1], {}, "y_true mixes labels"),
    ],
)
def test_bad_input(y_true, y_pred, kwargs, message):
    with pytest.raises(ValueError, match=message):
        clustering_accuracy(y_true, y_pred, **kwargs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: match_clusters([0, 1], [0, 1], 1), "y_pred has clusters 0 to 1"),
        (lambda: match_clusters([0, 1], [-1, 1]), "clusters -1 to 1"),
        (lambda: match_clusters([0, 1], ["a", "b"]), "y_pred has dtype <U1"),
        (lambda: match_clusters([0, 1], [0, 1], 2.5), r"n_clusters=2\.5 is not valid"),
        (lambda: match_clusters([0, 1], [0, 1], match="best"), "match=.* is unknown"),
        (lambda: make_clustering_scorer("best"), "match='best' is unknown"),
        (lambda: make_clustering_scorer("many-to-one", n_splits=1), "n_splits=1 is not valid"),
        (lambda: make_clustering_scorer("many-to-one")(KMeans(1).fit([[0.0]]), [[0.0]], [0]), "1 sample"),
    ],
)
def test_bad_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call()
