"""k-reciprocal ranking against a plain implementation of the paper's equations."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from tolerance import assert_close

from sklinvariant.metrics import average_precision, exact_ranking
from sklinvariant.neighbors import k_reciprocal_ranking
from sklinvariant.neighbors._reranking import _k_reciprocal


def reference(queries, X, k1, k2, weight):
    """Equations 1-12 with sets and dense matrices."""
    rows = np.concatenate([queries, X])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    d = ((rows[:, None] - rows) ** 2).sum(-1)
    d /= d.max(axis=1, keepdims=True)
    order = np.argsort(d, axis=1)

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    V = np.zeros_like(d)
    for i in range(len(d)):
        own = reciprocal(i, k1)
        more = set(own)
        for j in own:
            theirs = reciprocal(j, max(1, round(k1 / 2)))
            if len(theirs & own) > 2 / 3 * len(theirs):
                more |= theirs
        found = sorted(more)
        V[i, found] = np.exp(-d[i, found]) / np.exp(-d[i, found]).sum()
    V = np.stack([V[order[i, :k2]].mean(0) for i in range(len(d))])
    n = len(queries)
    jaccard = [[1 - np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in V[n:]] for a in V[:n]]
    return (1 - weight) * np.array(jaccard) + weight * d[:n, n:]


def classes(seed):
    rng = np.random.RandomState(seed)
    y = np.arange(120) % 8
    return rng.normal(size=(8, 16))[y] + 1.2 * rng.normal(size=(120, 16)), y


def test_distances_are_those_of_the_paper():
    X, _ = classes(0)
    for k1, k2, weight in ((6, 3, 0.3), (9, 1, 0.0), (1, 2, 0.7)):
        expected = reference(X[:7], X[7:60], k1, k2, weight)
        distances, rows = k_reciprocal_ranking(X[:7], X[7:60], k1=k1, k2=k2, weight=weight)
        assert_close(distances, np.take_along_axis(expected, rows, 1))
        assert_close(distances, np.sort(expected, axis=1))


def test_weight_one_is_the_original_ranking():
    X, _ = classes(1)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    found = k_reciprocal_ranking(X[:20], X[20:], weight=1, n_neighbors=10)[1]
    np.testing.assert_array_equal(found, exact_ranking(rows[:20], rows[20:], n_neighbors=10))


def test_it_improves_the_ranking_of_noisy_classes():
    X, y = classes(2)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    relevant = y[:20, None] == y[20:]
    plain = average_precision(exact_ranking(rows[:20], rows[20:]), relevant).mean()
    assert average_precision(k_reciprocal_ranking(X[:20], X[20:], k1=10)[1], relevant).mean() > plain + 0.02


def test_few_rows_and_duplicates():
    assert k_reciprocal_ranking([[1.0, 0.0]], [[1.0, 0.0]])[1].tolist() == [[0]]
    distances, rows = k_reciprocal_ranking(np.ones((2, 3)), np.ones((4, 3)))
    assert np.isfinite(distances).all()
    assert sorted(rows[0]) == [0, 1, 2, 3]


def test_tensors_in_tensors_out():
    X = torch.tensor(classes(3)[0])
    distances, rows = k_reciprocal_ranking(X[:3], X[3:], n_neighbors=4)
    assert (type(distances), rows.dtype, tuple(rows.shape)) == (torch.Tensor, torch.int64, (3, 4))


def links_of(X, k):
    return NearestNeighbors(n_neighbors=k, metric="cosine").fit(X).kneighbors(return_distance=False)


def by_row(distances, rows):
    return np.take_along_axis(distances, np.argsort(rows, axis=1), 1)


@pytest.mark.parametrize("settings", [{}, {"k1": 4, "k2": 6}, {"k1": 100, "weight": 0.0}])
def test_links_to_all_rows_give_the_same_ranking(monkeypatch, settings):
    X, _ = classes(4)
    expected = by_row(*k_reciprocal_ranking(X[:20], X[20:], **settings))
    for block in (7, 256):
        monkeypatch.setattr(_k_reciprocal, "_BLOCK", block)
        assert_close(by_row(*k_reciprocal_ranking(X[:20], X[20:], links=links_of(X[20:], 99), **settings)), expected)


def test_few_links_improve_the_ranking_as_well():
    X, y = classes(2)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    relevant = y[:20, None] == y[20:]
    found = k_reciprocal_ranking(X[:20], X[20:], k1=10, links=links_of(X[20:], 12))[1]
    plain = average_precision(exact_ranking(rows[:20], rows[20:]), relevant).mean()
    assert average_precision(found, relevant).mean() > plain + 0.02


def test_too_few_links_are_refused():
    X, _ = classes(0)
    with pytest.raises(ValueError, match="links has 5 neighbours of each row, but 10 are required"):
        k_reciprocal_ranking(X[:20], X[20:], links=links_of(X[20:], 5))
