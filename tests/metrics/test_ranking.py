"""Exact rankings against scikit-learn's neighbours."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from tolerance import assert_close

from sklinvariant.metrics import exact_ranking


@pytest.fixture
def rng(global_random_seed):
    return np.random.RandomState(global_random_seed)


def _assert_ranked(ranking, theirs, queries, database):
    """Rankings are equal except for the order of rows at equal distances."""
    ranking = np.asarray(ranking)
    assert ranking.shape == theirs.shape
    assert all(len(set(row)) == len(row) for row in ranking.tolist())
    assert (ranking == theirs).mean() > 0.9
    distances, expected = (np.linalg.norm(queries[:, None] - database[rows], axis=2) for rows in (ranking, theirs))
    assert_close(distances, expected)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_ranking_against_scikit_learn(rng, chunk_size, shift):
    database, queries = rng.normal(size=(60, 5)) + shift, rng.normal(size=(20, 5)) + shift
    theirs = NearestNeighbors(n_neighbors=60).fit(database)
    _assert_ranked(
        exact_ranking(queries, database, chunk_size=chunk_size), theirs.kneighbors(queries)[1], queries, database
    )
    tensor = exact_ranking(torch.tensor(queries), torch.tensor(database), n_neighbors=4)
    _assert_ranked(tensor, theirs.kneighbors(queries, 4)[1], queries, database)
    own = exact_ranking(database, chunk_size=chunk_size)
    _assert_ranked(own, theirs.kneighbors(None, 59)[1], database, database)


def test_ranking_of_bits(rng):
    codes = rng.randint(2, size=(50, 16)).astype(np.uint8)
    order = exact_ranking(codes[:5], codes, metric="hamming")
    distances = (codes[:5, None] != codes).sum(-1)
    np.testing.assert_array_equal(order, np.argsort(distances, axis=1, kind="stable"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact_ranking(np.zeros((2, 3)), np.zeros((2, 4))), "features"),
        (lambda: exact_ranking(np.zeros((2, 3)), n_neighbors=2), "n_neighbors"),
        (lambda: exact_ranking(np.zeros((2, 3)), n_neighbors=1.0), "n_neighbors"),
        (lambda: exact_ranking(np.zeros((1, 3))), "n_neighbors"),
        (lambda: exact_ranking(np.full((2, 3), np.nan)), "row 0"),
        (lambda: exact_ranking(np.full((2, 3), 2), metric="hamming"), "queries has values other than 0 and 1"),
        (lambda: exact_ranking(np.zeros((2, 3)), metric="cosine"), "metric"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_queries_and_database_may_have_different_precision():
    rng = np.random.RandomState(0)
    queries, database = rng.normal(size=(4, 3)), rng.normal(size=(9, 3)).astype(np.float32)
    expected = exact_ranking(queries, database.astype(np.float64))
    np.testing.assert_array_equal(exact_ranking(queries, database), expected)
    np.testing.assert_array_equal(exact_ranking(queries.astype(np.float32), database.astype(np.float64)), expected)
