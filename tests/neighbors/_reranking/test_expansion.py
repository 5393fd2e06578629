"""Query expansion and database augmentation against the formula, and their use."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.metrics import average_precision, exact_ranking
from sklinvariant.neighbors import EmbeddingNeighbors, HammingNeighbors, augment_database, expand_queries


def unit(x):
    return x / np.linalg.norm(x)


def test_expanded_queries_are_weighted_means():
    rng = np.random.RandomState(0)
    queries, X, rows = rng.normal(size=(6, 4)), rng.normal(size=(9, 4)), rng.randint(9, size=(6, 3))
    expanded = expand_queries(queries, X, rows, alpha=2)
    for query, neighbours, got in zip(queries, rows, expanded, strict=True):
        total = unit(query)
        for x in X[neighbours]:
            total = total + max(unit(query) @ unit(x), 0) ** 2 * unit(x)
        assert_close(got, unit(total))


def test_augmentation_expands_the_database_by_itself():
    rng = np.random.RandomState(1)
    X, rows = rng.normal(size=(9, 4)), rng.randint(9, size=(9, 2))
    assert_close(augment_database(X, rows, alpha=0), expand_queries(X, X, rows, alpha=0))


def test_the_length_of_vectors_does_not_matter():
    rng = np.random.RandomState(2)
    queries, X, rows = rng.normal(size=(6, 4)), rng.normal(size=(9, 4)), rng.randint(9, size=(6, 3))
    lengths = rng.uniform(0.1, 10, size=(9, 1))
    assert_close(expand_queries(5 * queries, X * lengths, rows), expand_queries(queries, X, rows))


def test_no_neighbours_leave_queries_as_they_are():
    queries = np.random.RandomState(3).normal(size=(6, 4))
    expected = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    assert_close(expand_queries(queries, queries, np.empty((6, 0), int)), expected)


@pytest.mark.parametrize("make", [HammingNeighbors, EmbeddingNeighbors])
def test_the_graph_of_an_index_with_its_own_ids_has_the_row_numbers(make):
    pytest.importorskip("faiss")
    X = np.random.RandomState(5).normal(size=(80, 16)) * (1 + np.arange(80)[:, None])
    index, ids = make(5), np.random.RandomState(6).permutation(10_000)[:80]
    expected = index.fit(X).kneighbors(X[:9])[1]
    index.fit(X, ids=ids)
    rows = index.kneighbors_graph(X[:9]).indices.reshape(9, -1)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(ids[rows], index.kneighbors(X[:9])[1])
    with pytest.raises(ValueError, match=r"there are 80 rows\. Pass row numbers, not ids"):
        expand_queries(X[:9], X, index.kneighbors(X[:9])[1])


def test_both_improve_the_ranking_of_noisy_classes():
    rng = np.random.RandomState(4)
    y = np.arange(200) % 10
    X = rng.normal(size=(10, 32))[y] + 1.5 * rng.normal(size=(200, 32))
    queries, database, asked, stored = X[:50], X[50:], y[:50], y[50:]

    def quality(queries, database):
        unit_rows = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, database)]
        return average_precision(exact_ranking(*unit_rows), asked[:, None] == stored).mean()

    expanded = expand_queries(queries, database, exact_ranking(queries, database, n_neighbors=5))
    augmented = augment_database(database, exact_ranking(database, n_neighbors=5))
    plain = quality(queries, database)
    assert quality(expanded, database) > plain + 0.02
    assert quality(queries, augmented) > plain + 0.02


def test_tensors_in_tensors_out():
    X, rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([[1], [0], [3], [2], [0]])
    expanded = augment_database(X, rows)
    assert isinstance(expanded, torch.Tensor)
    assert expanded.dtype == torch.float32
    assert_close(expanded.numpy(), augment_database(X.numpy(), rows.numpy()))


def test_a_wrong_alpha_is_refused():
    with pytest.raises(ValueError, match="'alpha' parameter"):
        expand_queries([[1.0]], [[1.0]], [[0]], alpha=-1)
