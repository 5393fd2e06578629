"""What every index has: searches by number and by radius, their graphs, and files."""

import numpy as np
import pytest

from sklinvariant.neighbors import EmbeddingNeighbors, HammingNeighbors, QuantizedNeighbors

pytest.importorskip("faiss", reason="faiss is not installed")

X = np.random.RandomState(0).normal(size=(300, 16))
INDEXES = [
    (HammingNeighbors(3), (X > 0).astype(np.uint8)),
    (EmbeddingNeighbors(3, random_state=0), X),
    (QuantizedNeighbors(3, random_state=0), X),
]


@pytest.mark.parametrize(("index", "rows"), INDEXES, ids=lambda item: type(item).__name__)
def test_graphs_and_radius_agree_with_the_nearest(index, rows):
    """Of an index from which rows 0 and 2 are removed, so that columns are neither ids nor rows."""
    index.fit(rows, ids=np.arange(300) * 2).remove([0, 4])
    queries, places = rows[:5], {number: j for j, number in enumerate(index.ids_.tolist())}
    distances, ids = index.kneighbors(queries, 4)
    graph = index.kneighbors_graph(queries, 4, mode="distance")
    assert graph.shape == (5, 298)
    np.testing.assert_array_equal(graph.indices.reshape(5, 4), np.vectorize(places.get)(ids))
    np.testing.assert_array_equal(graph.data.reshape(5, 4), distances)
    radius = float(distances[:, 2].max())
    near, found = index.radius_neighbors(queries, radius, sort_results=True)
    for i in range(5):
        assert (np.diff(near[i]) >= 0).all()
        assert set(ids[i, distances[i] <= radius]) <= set(found[i])
    ones = index.radius_neighbors_graph(queries, radius)
    np.testing.assert_array_equal(np.diff(ones.indptr), [len(part) for part in found])
    assert (ones.data == 1).all()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize(("index", "rows"), INDEXES, ids=lambda item: type(item).__name__)
def test_a_loaded_index_finds_the_same(index, rows, mmap_mode, tmp_path):
    index.fit(rows, ids=np.arange(300) * 2).remove([0, 4])
    index.save(tmp_path / "index")
    again = type(index).load(tmp_path / "index", mmap_mode=mmap_mode)
    for found, expected in zip(again.kneighbors(rows[:5]), index.kneighbors(rows[:5]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_index_of_another_class_is_refused(tmp_path):
    QuantizedNeighbors(random_state=0).fit(X).save(tmp_path / "index")
    with pytest.raises(ValueError, match="contains a QuantizedNeighbors, but EmbeddingNeighbors is required"):
        EmbeddingNeighbors.load(tmp_path / "index")
