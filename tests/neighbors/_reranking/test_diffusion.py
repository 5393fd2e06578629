"""Diffusion against the closed form of its scores."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from tolerance import assert_close

from sklinvariant.metrics import average_precision, exact_ranking
from sklinvariant.neighbors import diffusion_ranking

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 5))
QUERIES = RNG.normal(size=(4, 5))


def closed_form(queries, X, k, starts, gamma, alpha):
    """Scores (I - αS)⁻¹ y with dense matrices."""
    queries, X = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, X))
    cosines, n = X @ X.T, len(X)
    near = [[j for j in np.argsort(-cosines[i]) if j != i][:k] for i in range(n)]
    A = np.zeros((n, n))
    for i in range(n):
        for j in near[i]:
            if i in near[j]:
                A[i, j] = max(cosines[i, j], 0) ** gamma
    D = A.sum(1)
    S = A / np.sqrt(np.where(D > 0, D, 1))[:, None] / np.sqrt(np.where(D > 0, D, 1))
    y = np.maximum(queries @ X.T, 0) ** gamma
    for row in y:
        row[np.argsort(-row)[starts:]] = 0
    return np.linalg.solve(np.eye(n) - alpha * S, y.T).T


def test_scores_are_those_of_the_linear_system():
    expected = closed_form(QUERIES, X, 8, 5, 3, 0.9)
    scores, rows = diffusion_ranking(QUERIES, X, n_links=8, n_starts=5, alpha=0.9, max_iter=500)
    expected = np.take_along_axis(expected, rows, 1)
    reached = expected > 1e-9
    assert reached.mean() > 0.5
    assert_close(scores[reached], expected[reached], rtol=1e-4)


def test_without_a_walk_the_starts_are_ranked_by_similarity_and_so_are_the_others():
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    queries = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
    found = diffusion_ranking(QUERIES, X, alpha=0.0, n_starts=6)[1]
    np.testing.assert_array_equal(found, exact_ranking(queries, rows))


def test_rows_are_found_along_a_curve():
    angles = np.linspace(0, np.pi, 40)
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(40)], axis=1)
    others = np.stack([np.cos(angles / 4), np.zeros(40), np.sin(angles / 4) + 0.4], axis=1)
    X, on_ring = np.concatenate([ring, others]), np.arange(80)[None] < 40
    query = ring[:1]
    plain = average_precision(exact_ranking(query, X), on_ring)[0]
    walked = average_precision(diffusion_ranking(query, X, n_links=4, n_starts=1, max_iter=200)[1], on_ring)[0]
    assert walked > 0.99 > plain


@pytest.mark.parametrize("n", [1, 2])
def test_few_rows(n):
    scores, rows = diffusion_ranking(QUERIES, X[:n])
    assert rows.shape == (4, n)
    assert np.isfinite(scores).all()


def test_tensors_in_tensors_out():
    scores, rows = diffusion_ranking(torch.tensor(QUERIES), torch.tensor(X), n_neighbors=3)
    assert (type(scores), rows.dtype, tuple(rows.shape)) == (torch.Tensor, torch.int64, (4, 3))
    with pytest.raises(ValueError, match="'alpha' parameter"):
        diffusion_ranking(QUERIES, X, alpha=1.0)


def all_links(X):
    return NearestNeighbors(n_neighbors=len(X) - 1, metric="cosine").fit(X).kneighbors(return_distance=False)


@pytest.mark.parametrize("n_links", [8, 59])
def test_links_of_an_index_give_the_same_ranking(n_links):
    settings = {"n_links": 8, "n_starts": 5}
    expected, scores = (
        np.take_along_axis(found, np.argsort(rows, axis=1), 1)
        for found, rows in (
            diffusion_ranking(QUERIES, X, **settings),
            diffusion_ranking(QUERIES, X, links=all_links(X)[:, :n_links], **settings),
        )
    )
    assert_close(scores, expected)


def test_the_best_rows_are_the_first_of_all():
    scores, rows = diffusion_ranking(QUERIES, X)
    best_scores, best = diffusion_ranking(QUERIES, X, n_neighbors=20)
    np.testing.assert_array_equal(best, rows[:, :20])
    np.testing.assert_array_equal(best_scores, scores[:, :20])


def test_wrong_links_are_named():
    with pytest.raises(ValueError, match="links has 3 neighbours of each row, but 10 are required"):
        diffusion_ranking(QUERIES, X, links=all_links(X)[:, :3])
    with pytest.raises(ValueError, match="links contains 1 to 60, but there are 60 rows"):
        diffusion_ranking(QUERIES, X, links=np.tile(np.arange(1, 61)[:, None], 10))
    with pytest.raises(ValueError, match=r"links has dtype float64 .* integers of shape \(60, k\) are required"):
        diffusion_ranking(QUERIES, X, links=np.zeros((60, 10)))


def test_more_equal_rows_than_links():
    scores, rows = diffusion_ranking(np.ones((1, 3)), np.ones((30, 3)), n_links=4)
    assert np.isfinite(scores).all()
    assert sorted(rows[0]) == list(range(30))
