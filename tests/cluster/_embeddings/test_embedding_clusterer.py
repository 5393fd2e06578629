"""What the clusterers of embeddings share: feature spaces, seeds and files, going on, bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from tolerance import assert_close, assert_same_labels

from sklinvariant import TEMIClusterer, TURTLEClusterer, load, save
from sklinvariant.cluster._embeddings._embedding_clusterer import column_groups
from sklinvariant.metrics import clustering_accuracy

CLUSTERERS = [TEMIClusterer, TURTLEClusterer]
each = pytest.mark.parametrize("cls", CLUSTERERS)


def quick(cls, n_clusters=3, **settings):
    return cls(n_clusters, **{"n_heads": 2, "n_neighbors": 5, "max_epochs": 40, "random_state": 0, **settings})


@pytest.fixture
def corners(global_random_seed):
    """90 rows (90, 6) around 3 of the 4 corners of a square, which neither half of the columns tells apart."""
    rng, y = np.random.RandomState(global_random_seed), np.arange(90) % 3
    X = 0.2 * rng.normal(size=(90, 6))
    X[:, :3] += (y == 0)[:, None]
    X[:, 3:] += (y == 1)[:, None]
    return X.astype(np.float32), y


def test_columns_of_all_kinds():
    names = np.array(["a", "b", "c", "d"], dtype=object)
    mask = np.array([False, True, False, True])
    groups = column_groups([slice(0, 2), [3, -2], mask, ["c", "a"], "d", 1], 4, names)
    assert [list(group) for group in groups] == [[0, 1], [3, 2], [1, 3], [2, 0], [3], [1]]
    assert [list(group) for group in column_groups(None, 3)] == [[0, 1, 2]]


@pytest.mark.parametrize("spaces", ["a", [], 3, [[4]], [["x"]], [slice(4, 4)], [[]], [1.5], [np.ones(3, bool)]])
def test_bad_spaces(spaces):
    with pytest.raises(ValueError, match="spaces"):
        column_groups(spaces, 4, ["a", "b", "c", "d"])


@each
def test_finds_blobs_and_says_how_sure(cls, blobs):
    X, y = blobs
    model = quick(cls).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
    probabilities = model.predict_proba(X)
    assert_close(probabilities.sum(1), np.ones(len(X)), rtol=1e-5)
    for labels in (probabilities.argmax(1), model.predict(X), clone(model).fit_predict(X)):
        assert_same_labels(labels, model.labels_, probabilities)
    assert model.losses_.shape == (2,)
    assert model.best_head_ == model.losses_.argmin()


@each
def test_several_spaces(cls, corners):
    X, y = corners
    alone = quick(cls, spaces=[slice(0, 3)]).fit(X)
    both = quick(cls, spaces=[slice(0, 3), slice(3, 6)]).fit(X)
    assert adjusted_rand_score(y, both.labels_) > 0.15 + adjusted_rand_score(y, alone.labels_)


@each
def test_names_of_columns(cls, corners):
    X, _ = corners
    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = quick(cls, spaces=[["a", "b", "c"], ["d", "e", "f"]]).fit(frame)
    numbered = quick(cls, spaces=[slice(0, 3), slice(3, 6)]).fit(X)
    assert_close(named.predict_proba(frame), numbered.predict_proba(X))


@each
def test_the_unit_of_a_space_does_not_matter(cls, corners):
    X, _ = corners
    other = X * np.float32([1, 1, 1, 64, 64, 64])
    models = [quick(cls, spaces=[slice(0, 3), slice(3, 6)], scale=None).fit(rows) for rows in (X, other)]
    assert_same_labels(models[1].labels_, models[0].labels_, models[0].predict_proba(X))


@each
def test_digits(cls):
    X, y = load_digits(n_class=5, return_X_y=True)
    assert clustering_accuracy(y, cls(5, n_heads=2, random_state=0).fit_predict(X)) > 0.8


@each
def test_random_start(cls, blobs):
    X, y = blobs
    model = quick(cls, init="random", n_heads=5, max_epochs=150, learning_rate=0.03).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.5


@each
def test_copies_answer_alike(cls, corners, tmp_path):
    X, _ = corners
    model = quick(cls, spaces=[[0, 1, 2], [3, 4, 5]]).fit(X)
    save(model, tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model"), quick(**_parameters(model)).fit(X)):
        np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


def _parameters(model):
    return {"cls": type(model), **model.get_params(deep=False)}


@each
def test_going_on_with_other_clusters_is_refused(cls, blobs):
    X, _ = blobs
    model = quick(cls, warm_start=True).fit(X)
    model.set_params(n_clusters=4)
    for method in (model.fit, model.partial_fit, model.predict):
        with pytest.raises(ValueError, match=r"^Set n_clusters and n_heads back") as caught:
            method(X)
        assert "size mismatch" not in str(caught.value)


@each
def test_a_short_block_is_refused(cls, blobs):
    X, _ = blobs
    model = quick(cls).fit(X)
    with pytest.raises(ValueError, match=r"n_samples=2 .* join a short block with another"):
        model.partial_fit(X[:2])


@each
def test_the_scale_of_a_warm_start_is_that_of_the_first_fit(cls, blobs):
    X, _ = blobs
    model = quick(cls, warm_start=True).fit(X)
    first = model._state["network"]["spaces.0.scale"].copy()
    model.fit(2 * X)
    np.testing.assert_array_equal(model._state["network"]["spaces.0.scale"], first)
    assert model.n_iter_ == 80


@each
@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_clusters": 91}, "n_samples=90"), ({"batch_size": 2}, "batch_size=2"), ({"spaces": [[7]]}, "no columns of X")],
)
def test_bad_settings(cls, blobs, settings, message):
    with pytest.raises(ValueError, match=message):
        quick(cls, **settings).fit(blobs[0])


@each
@pytest.mark.parametrize("k", [3, 6])
def test_the_number_of_separate_clusters_is_found(cls, k, global_random_seed, tmp_path):
    X, y = make_blobs(40 * k, centers=12 * np.eye(6)[:k], random_state=global_random_seed)
    model = quick(cls, "auto", max_clusters=9).fit(X)
    assert model.n_clusters_ == k
    assert model.stability_[k - 2] == model.stability_.max()
    assert model.stability_.shape == (8,)
    assert adjusted_rand_score(y, model.labels_) > 0.95
    assert model.predict_proba(X).shape == (40 * k, k)
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(X), model.predict_proba(X))


@each
def test_the_number_of_clusters_of_different_sizes_is_found(cls, global_random_seed):
    """All mergings into two clusters join the two smallest, so that they agree as well as those into three."""
    y = np.repeat([0, 1, 2], [300, 100, 50])
    X = 10 * np.eye(5)[y] + np.random.RandomState(global_random_seed).normal(size=(450, 5))
    model = quick(cls, "auto", max_clusters=6).fit(X)
    assert model.stability_[0] > 0.99
    assert model.n_clusters_ == 3
    assert adjusted_rand_score(y, model.labels_) > 0.95


@each
def test_a_fit_that_goes_on_keeps_the_number(cls, blobs):
    X, _ = blobs
    model = quick(cls, "auto", max_clusters=5).fit(X)
    stability = model.stability_.copy()
    model.partial_fit(X[:30]).set_params(warm_start=True).fit(X)
    assert model.n_clusters_ == 3
    np.testing.assert_array_equal(model.stability_, stability)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        model.partial_fit(X[:2])
    model.set_params(n_clusters=4, warm_start=False).fit(X)
    assert model.n_clusters_ == 4
    assert not hasattr(model, "stability_")


@pytest.mark.parametrize("rows_per_cluster", [8, 10, 15])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_number_of_clusters_of_few_rows_is_found(k, rows_per_cluster, global_random_seed):
    """Almost single rows are the same clusters in each merging, and 10 neighbours reach other clusters."""
    X, _ = make_blobs(k * rows_per_cluster, centers=10 * np.eye(k, 6), random_state=global_random_seed)
    model = TURTLEClusterer("auto", max_epochs=1, random_state=global_random_seed).fit(X)
    assert model.n_clusters_ == k
    assert len(model.stability_) + 1 == max(2, k * rows_per_cluster // 4)


@each
@pytest.mark.parametrize("n_rows", [2, 3, 8])
def test_too_few_rows_to_find_a_number_are_reported(cls, n_rows):
    X = np.random.RandomState(0).normal(size=(n_rows, 4))
    with pytest.warns(ConvergenceWarning, match="2 is the largest number of clusters|this number is uncertain"):
        model = quick(cls, "auto").fit(X)
    assert model.stability_.shape == (1,)


def test_one_row_has_no_number_of_clusters():
    with pytest.raises(ValueError, match="n_samples=1 should be >= n_clusters=2"):
        quick(TEMIClusterer, "auto").fit(np.ones((1, 4)))


def test_no_more_clusters_than_rows_of_a_batch(blobs):
    model = quick(TEMIClusterer, "auto", batch_size=4).fit(blobs[0])
    assert model.n_clusters_ == 3
    assert model.stability_.shape == (3,)
    with pytest.raises(ValueError, match="batch_size=1 should be >= n_clusters=2"):
        quick(TEMIClusterer, "auto", batch_size=1).fit(blobs[0])


def test_an_uncertain_number_of_clusters_is_reported(global_random_seed):
    noise = np.random.RandomState(global_random_seed).normal(size=(300, 30))
    model = quick(TEMIClusterer, "auto", max_clusters=6, max_epochs=1)
    with pytest.warns(ConvergenceWarning, match=r"mergings into \d clusters agree by only -?0\."):
        model.fit(noise)


def test_the_first_part_warns_of_an_uncertain_number(global_random_seed):
    noise = np.random.RandomState(global_random_seed).normal(size=(300, 30))
    model = quick(TEMIClusterer, "auto", max_clusters=6)
    with pytest.warns(ConvergenceWarning, match="this number is uncertain"):
        model.partial_fit(noise)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.partial_fit(noise)


@each
def test_rows_that_are_all_equal(cls):
    """There are no two clusters, and no lower number than 2 that "auto" could find."""
    with pytest.warns(ConvergenceWarning) as caught:
        model = quick(cls, "auto", max_clusters=4).fit(np.ones((60, 3)))
    assert model.n_clusters_ == 2
    assert not model.stability_.any()
    messages = [str(warning.message) for warning in caught]
    assert any("1 of 2 clusters are empty. Raise max_epochs, or take X for one cluster" in each for each in messages)
    assert any("agree by only 0.00" in each for each in messages)


def test_empty_clusters_are_reported(blobs):
    model = TURTLEClusterer(6, gamma=0.0, init="random", learning_rate=0.1, n_heads=1, max_epochs=300, random_state=0)
    with pytest.warns(ConvergenceWarning, match="clusters are empty"):
        model.fit(blobs[0])


def test_more_rows_than_a_batch_have_as_many_steps():
    X = np.random.RandomState(0).normal(size=(1000, 4)).astype(np.float32)
    model = TURTLEClusterer(2, init="random", n_heads=1, batch_size=100, random_state=0).fit(torch.as_tensor(X))
    assert model.n_iter_ == 30
    assert len(model.predict(torch.as_tensor(X))) == 1000


@each
def test_a_list_of_spaces_is_told_how_to_pass_them(cls, corners):
    X = corners[0]
    for parts in ([X, X], (X, X[:, :2]), [X.tolist(), X.tolist()]):
        with pytest.raises(ValueError, match=rf"list of 2 arrays of rows, but {cls.__name__} .*np.hstack.*spaces"):
            quick(cls).fit(parts)
    for one in ([X], [X.tolist()]):
        with pytest.raises(ValueError, match="3") as found:
            quick(cls).fit(one)
        assert "spaces" not in str(found.value)
    model = quick(cls, max_epochs=1, spaces=[slice(0, 6), slice(6, 8)]).fit(np.hstack((X, X[:, :2])))
    assert model.labels_.shape == (90,)


@each
def test_rows_with_many_copies(cls, answers):
    """A fifth of the rows of the larger cluster are equal. They are no cluster of their own."""
    X, y = answers
    assert clustering_accuracy(y, cls(2, random_state=0).fit(X).labels_) > 0.97


@each
def test_fewer_neighbours_in_small_clusters(cls, small_groups):
    X, y = small_groups
    assert clustering_accuracy(y, cls(10, random_state=0).fit(X).labels_) > 0.97
