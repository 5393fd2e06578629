"""Graphs of neighbours that the user gives, and estimators that find them."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsTransformer, NearestNeighbors, RadiusNeighborsTransformer, kneighbors_graph
from sklearn.pipeline import make_pipeline

from sklinvariant import HammingNeighbors
from sklinvariant.pairs import GraphPairs, read_graph, search_graph


@pytest.fixture
def rows():
    return np.random.RandomState(0).normal(size=(40, 3))


def neighbours(graph):
    """The neighbours of each sample, sorted."""
    return [sorted(part.tolist()) for part in graph.ends.tensor_split(graph.starts[1:-1])]


def test_stored_entries_are_neighbours():
    """A stored 0 is the distance of two equal samples; own entries do not count; edges have a direction."""
    matrix = sparse.csr_array(([0.0, 2.0, 0.0, 1.0], ([0, 0, 2, 2], [0, 2, 1, 3])), shape=(4, 4))
    assert neighbours(read_graph(matrix, 4)) == [[2], [], [1, 3], []]


def test_zeros_that_fill_blocks_are_no_neighbours():
    blocks = sparse.bsr_array(np.kron(np.eye(2), [[0, 1], [0, 0]]), blocksize=(2, 2))
    assert neighbours(read_graph(blocks, 4)) == [[1], [], [3], []]


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32])
def test_all_sparse_formats_are_read(kind, dtype):
    dense = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 1]], dtype)
    for make in (sparse.csr_array, sparse.csr_matrix):
        assert neighbours(read_graph(make(dense).asformat(kind), 3)) == [[1], [0, 2], []]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (np.ones((3, 3)), "must be a sparse matrix of scipy, got ndarray"),
        (sparse.csr_array((3, 5)), r"must have shape \(3, 3\) for 3 samples, got \(3, 5\)\. Cross-validation"),
        (sparse.csr_array((5, 5)), r"must have shape \(3, 3\) for 3 samples, got \(5, 5\)\. Pass the graph of"),
        (sparse.coo_array(np.ones(3)), r"must have shape \(3, 3\) for 3 samples, got \(3,\)"),
        (
            sparse.csr_array(np.full((3, 3), np.nan)),
            "must contain finite real numbers, got dtype float64 with NaN or infinity",
        ),
        (
            sparse.lil_array(np.full((3, 3), np.inf)),
            "must contain finite real numbers, got dtype float64 with NaN or infinity",
        ),
        (sparse.csr_array(np.ones((3, 3), complex)), "must contain finite real numbers, got dtype complex128"),
        (sparse.eye_array(3, format="csr"), "contains no neighbours of other samples"),
    ],
)
def test_graphs_that_cannot_be_read(graph, message):
    with pytest.raises(ValueError, match=message):
        read_graph(graph, 3)


def damaged(kind, name, values):
    """A graph of 3 samples in a sparse format, one of whose arrays is replaced."""
    graph = sparse.csr_array(np.ones((3, 3))).asformat(kind)
    setattr(graph, name, np.array(values))
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (damaged("csr", "indices", [0, 1, 7] * 3), "graph contains columns outside 0 to 2. Build it again"),
        (damaged("csc", "indices", [0, 1, 7] * 3), "graph contains rows outside 0 to 2"),
        (damaged("bsr", "indices", [-1]), "graph contains columns outside 0 to 0"),
        (damaged("coo", "row", [0, 1, 3] * 3), "graph contains rows outside 0 to 2"),
        (damaged("coo", "col", [0, 1, -5] * 3), "graph contains columns outside 0 to 2"),
        (damaged("csr", "indptr", [0, 6, 3, 9]), "graph is damaged: its indptr should have 4 numbers that rise from 0"),
        (damaged("csr", "indptr", [1, 3, 6, 9]), "graph is damaged: its indptr"),
        (damaged("csr", "indptr", [0, 3, 9]), "graph is damaged: its indptr"),
        (damaged("csc", "indptr", [0, 3, 6, 99]), "graph is damaged: .* to at most 9, the number of stored entries"),
        (damaged("csr", "data", [1.0]), "graph is damaged: .* to at most 1"),
    ],
)
def test_damaged_graphs(graph, message):
    """scipy would read or write outside of the arrays of some of them."""
    with pytest.raises(ValueError, match=message):
        read_graph(graph, 3)


def test_columns_of_lists_outside_of_the_graph():
    graph = sparse.lil_array(np.ones((3, 3)))
    graph.rows[1] = [0, 1, 4]
    with pytest.raises(ValueError, match=r"columns outside 0 to 2|column index"):
        read_graph(graph, 3)


def test_the_order_of_entries_makes_no_difference(rows):
    """Entries of a row may be in any order, and repeated. The graph that was given is not changed."""
    graph = kneighbors_graph(rows, 4)
    order = np.concatenate([np.array([3, 1, 0, 2, 3]) + 4 * row for row in range(40)])
    other = sparse.csr_array((graph.data[order], graph.indices[order], 5 * np.arange(41)), shape=(40, 40))
    before = other.indices.copy()
    for one, two in zip(read_graph(graph, 40), read_graph(other, 40), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(other.indices, before)
    assert other.nnz == 200


def test_neighbours_among_some_samples(rows):
    graph = kneighbors_graph(rows, 5)
    index = torch.tensor([2, 3, 11, 12, 30, 39])
    expected = graph[index.numpy()][:, index.numpy()].toarray()
    assert expected.any()
    np.testing.assert_array_equal(read_graph(graph, 40).among(index), expected)


class Wrapped:
    """A search that a user wrote: an estimator with ``kneighbors`` alone, which answers the row itself too, and -1."""

    def __init__(self, missing=-1):
        self.missing = missing

    def get_params(self, deep=True):
        return {"missing": self.missing}

    def fit(self, X):
        self.search = NearestNeighbors(n_neighbors=4).fit(X)
        return self

    def kneighbors(self, X, return_distance=True):
        assert not return_distance
        found = self.search.kneighbors(X, return_distance=False)
        found[7, 2:] = self.missing
        return found


@pytest.mark.parametrize(
    "estimator",
    [
        NearestNeighbors(n_neighbors=3),
        KNeighborsTransformer(n_neighbors=3),
        make_pipeline(PCA(3), KNeighborsTransformer(n_neighbors=3)),
        Wrapped(),
    ],
)
def test_estimators_find_the_same_neighbours(rows, estimator):
    expected = neighbours(read_graph(kneighbors_graph(rows, 3), 40))
    found = neighbours(search_graph(estimator, rows))
    if isinstance(estimator, Wrapped):
        assert found.pop(7) == sorted(NearestNeighbors(n_neighbors=1).fit(rows).kneighbors()[1][7].tolist())
        expected.pop(7)
    assert found == expected
    assert not hasattr(estimator, "n_features_in_")
    assert not hasattr(estimator, "search")


def test_neighbours_within_a_radius_and_of_codes(rows):
    found = neighbours(search_graph(RadiusNeighborsTransformer(radius=0.8), rows))
    distances = np.linalg.norm(rows[:, None] - rows, axis=2)
    assert found == [np.flatnonzero((row <= 0.8) & (row > 0)).tolist() for row in distances]
    assert min(map(len, found)) == 0  # some rows have no neighbours
    codes = (rows > 0).astype(np.float32)
    found = neighbours(search_graph(HammingNeighbors(n_neighbors=2), codes))
    distances = (codes[:, None] != codes).sum(2) + 9 * np.eye(40)
    assert all(distances[i, found[i]].max() <= np.sort(distances[i])[1] for i in range(40))


def test_estimators_that_find_no_neighbours(rows):
    with pytest.raises(ValueError, match="the graph of KMeans must be a sparse matrix of scipy, got ndarray"):
        search_graph(KMeans(2), rows)
    with pytest.raises(ValueError, match=r"kneighbors of Wrapped returned 40\. Return indices from 0 to 39, or -1"):
        search_graph(Wrapped(missing=40), rows)


def test_an_estimator_that_finds_fewer_rows(rows, monkeypatch):
    monkeypatch.setattr(Wrapped, "kneighbors", lambda self, X, return_distance: np.zeros((39, 2), dtype=int))
    with pytest.raises(ValueError, match=r"kneighbors of Wrapped must return indices of 40 rows.* got .*\(39, 2\)"):
        search_graph(Wrapped(), rows)


def test_walks_follow_the_edges():
    """0 -> 1 -> 2 -> 0 and 3 -> 4, where a walk ends; 5 has no neighbours."""
    matrix = sparse.coo_array((np.ones(4), ([0, 1, 2, 3], [1, 2, 0, 4])), shape=(6, 6))
    samples = torch.arange(6.0)[:, None]
    source = GraphPairs(samples, read_graph(matrix, 6), torch.Generator().manual_seed(0), most_steps=3)
    assert len(source) == 4
    assert source.rows.tolist() == [0, 1, 2, 3]
    assert source.walk(torch.arange(4), 1).tolist() == [1, 2, 0, 4]
    ends = source.walk(torch.arange(4).repeat(300), 2).view(300, 4)
    assert [set(column.tolist()) for column in ends.T] == [{1, 2}, {2, 0}, {0, 1}, {4}]
    first, second = source.take(torch.tensor([3]), 2)
    assert first.tolist() == [[3.0]]
    assert second.tolist() == [[4.0], [4.0]]


def test_neighbours_are_drawn_alike():
    matrix = sparse.csr_array(np.array([[0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    source = GraphPairs(torch.zeros(4, 1), read_graph(matrix, 4), torch.Generator().manual_seed(0))
    counts = source.walk(torch.zeros(3000, dtype=torch.long), 1).bincount(minlength=4).tolist()
    assert counts[0] == 0
    assert min(counts[1:]) > 900


def test_no_walk_reaches_auxiliary_samples(rows):
    auxiliary = torch.arange(40) % 3 == 0
    graph = read_graph(kneighbors_graph(rows, 4), 40).without(auxiliary)
    source = GraphPairs(torch.zeros(40, 1), graph, torch.Generator().manual_seed(0))
    main = source.without(auxiliary)
    assert not auxiliary[source.rows[main]].any()
    assert not auxiliary[source.walk(main.repeat(50), 3)].any()
    assert auxiliary[source.rows].sum() == auxiliary.sum()  # they still form pairs, for the auxiliary heads
