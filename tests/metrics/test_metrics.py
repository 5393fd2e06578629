"""Retrieval metrics and bit statistics against slow loops and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors

from sklinvariant.hashing import LSHHasher
from sklinvariant.metrics import (
    average_precision,
    bit_activation,
    bit_correlation,
    bit_entropy,
    code_entropy,
    mean_average_precision,
    mean_average_precision_scorer,
    ranking,
    recall_at_k,
    relevance_of,
    ukbench_score,
)


@pytest.fixture
def rng(global_random_seed):
    return np.random.RandomState(global_random_seed)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_ranking_against_scikit_learn(rng, chunk_size, shift):
    database, queries = rng.normal(size=(60, 5)) + shift, rng.normal(size=(20, 5)) + shift
    theirs = NearestNeighbors(n_neighbors=60).fit(database).kneighbors(queries, return_distance=False)
    np.testing.assert_array_equal(ranking(queries, database, chunk_size=chunk_size), theirs)
    tensor = ranking(torch.tensor(queries), torch.tensor(database), n_neighbors=4)
    np.testing.assert_array_equal(tensor, theirs[:, :4])
    own = ranking(database, chunk_size=chunk_size)
    np.testing.assert_array_equal(own, NearestNeighbors(n_neighbors=59).fit(database).kneighbors()[1])


def test_ranking_of_bits(rng):
    codes = rng.randint(2, size=(50, 16)).astype(np.uint8)
    order = ranking(codes[:5], codes, metric="hamming")
    distances = (codes[:5, None] != codes).sum(-1)
    np.testing.assert_array_equal(order, np.argsort(distances, axis=1, kind="stable"))


def _slow_average_precision(row, n_relevant, trapezoid):
    """As the Oxford program goes through a list, ignored images skipped."""
    area, hits, seen, before, old_recall = 0.0, 0, 0, 1.0, 0.0
    for item in row:
        if item == -1:
            continue
        seen += 1
        hits += item == 1
        precision, recall = hits / seen, hits / n_relevant
        area += (recall - old_recall) * ((precision + before) / 2 if trapezoid else precision)
        before, old_recall = precision, recall
    return area


@pytest.mark.parametrize("interpolation", ["step", "trapezoid"])
def test_average_precision_against_a_loop(rng, interpolation):
    relevance = rng.choice([-1, 0, 1], size=(30, 25), p=[0.2, 0.5, 0.3])
    missing = rng.randint(3, size=30)
    n_relevant = (relevance == 1).sum(1) + missing
    ours = average_precision(relevance, n_relevant=n_relevant, interpolation=interpolation)
    slow = [
        _slow_average_precision(row, n, interpolation == "trapezoid")
        for row, n in zip(relevance, n_relevant, strict=True)
    ]
    np.testing.assert_allclose(ours, slow)
    assert mean_average_precision(relevance, n_relevant=n_relevant, interpolation=interpolation) == np.mean(slow)


def test_average_precision_against_scikit_learn(rng):
    relevance = rng.randint(2, size=(20, 30))
    theirs = [average_precision_score(row, -np.arange(30)) for row in relevance]
    np.testing.assert_allclose(average_precision(relevance), theirs)


def test_queries_without_right_images(rng):
    relevance = np.array([[0, 0], [1, 0]])
    assert np.isnan(average_precision(relevance)[0])
    assert mean_average_precision(relevance) == 1
    with pytest.raises(ValueError, match="nothing to average"):
        mean_average_precision(relevance[:1])


def test_junk_counts_as_not_there(rng):
    labels, queries = rng.randint(4, size=40), rng.randint(4, size=6)
    neighbors = np.stack([rng.permutation(40) for _ in range(6)])
    junk = rng.rand(40) < 0.3
    ours = average_precision(relevance_of(neighbors, queries, labels, junk=junk))
    without = [
        average_precision((labels[row[~junk[row]]] == label)[None].astype(int))[0]
        for row, label in zip(neighbors, queries, strict=True)
    ]
    np.testing.assert_allclose(ours, without)


def test_recall_and_ukbench():
    relevance = np.array([[1, -1, 0, 1, 1], [1, 1, 1, 1, 0]])
    assert recall_at_k(relevance, 2) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert recall_at_k(relevance, 3) == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert recall_at_k(relevance, 3, n_relevant=[6, 4]) == pytest.approx((2 / 6 + 3 / 4) / 2)
    assert ukbench_score(relevance) == 3.0


def test_scorer_in_a_grid_search(rng):
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 6)) * [4, 1, 1, 1, 1, 1]
    X[:, 1] += 6 * y
    search = GridSearchCV(PCA(svd_solver="full"), {"n_components": [1, 2]}, scoring=mean_average_precision_scorer, cv=3)
    search.fit(X, y)
    assert 0.3 < search.cv_results_["mean_test_score"].min() <= search.best_score_ <= 1
    hasher = LSHHasher(16, random_state=0).fit(X)
    bits = mean_average_precision_scorer(hasher, X, y)
    codes = hasher.transform(X)
    assert bits == mean_average_precision(relevance_of(ranking(codes, metric="hamming"), y, y))
    assert mean_average_precision_scorer(hasher.set_params(packed=True), X, y) == bits


def test_bits(rng):
    codes = (rng.rand(500, 4) < [0.5, 0.1, 1.0, 0.5]).astype(np.uint8)
    codes[:, 3] = 1 - codes[:, 0]
    p = codes.mean(0)
    np.testing.assert_allclose(bit_activation(codes), p)
    np.testing.assert_allclose(bit_entropy(codes)[:2], -p[:2] * np.log2(p[:2]) - (1 - p[:2]) * np.log2(1 - p[:2]))
    assert bit_entropy(codes)[2] == 0
    assert code_entropy(np.array([[0, 1], [1, 1]])).tolist() == [1, 0]
    correlation = bit_correlation(codes)
    np.testing.assert_allclose(correlation[:2, :2], np.corrcoef(codes[:, :2].T))
    assert correlation[0, 3] == pytest.approx(-1)
    assert (correlation[2] == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranking(np.zeros((2, 3)), np.zeros((2, 4))), "features"),
        (lambda: ranking(np.zeros((2, 3)), n_neighbors=2), "n_neighbors"),
        (lambda: ranking(np.zeros((1, 3))), "n_neighbors"),
        (lambda: ranking(np.full((2, 3), np.nan)), "row 0"),
        (lambda: ranking(np.full((2, 3), 2), metric="hamming"), "bits 0 and 1"),
        (lambda: ranking(np.zeros((2, 3)), metric="cosine"), "metric"),
        (lambda: average_precision([[2, 0]]), "relevance"),
        (lambda: average_precision([[1, 0]], n_relevant=[0]), "n_relevant"),
        (lambda: average_precision([[1, 0]], interpolation="linear"), "interpolation"),
        (lambda: recall_at_k([[1, 0]], 3), "k must"),
        (lambda: ukbench_score([[1, 0]]), "4 places"),
        (lambda: bit_activation([[0.5]]), "codes"),
        (lambda: relevance_of([[0]], [1, 2], [1]), "neighbors"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
