"""VectorNeighbors: what indexes of vectors have in common, with the obvious search."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sklinvariant.base import Input, RowReader, as_numpy
from sklinvariant.neighbors._vectors._vector_neighbors import VectorNeighbors


class Rows(VectorNeighbors):
    """Compares a query with all rows."""

    _reader = RowReader()
    n_neighbors = 2

    def fit(self, X, y=None, ids=None):
        rows = as_numpy(self._read(X, reset=True).data)
        self._state = {"n": len(rows), "ids": ids, "next_id": len(rows), "rows": rows}
        return self

    def _append(self, rows, state):
        state["rows"] = np.concatenate([state["rows"], rows])

    def _keep(self, rows, state):
        state["rows"] = state["rows"][rows]

    def _check_queries(self, X):
        given: Input = self._read(X)
        return given, as_numpy(given.data), None

    def _nearest(self, queries, k, itself):
        distances = cdist(queries, self._state["rows"])
        rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, rows, 1), rows


LINE = np.arange(6.0)[:, None]


def test_ids_follow_their_rows():
    model = Rows().fit(LINE).partial_fit(LINE + 6).remove([0, 7])
    assert model.ids_.tolist() == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert model.kneighbors([[0.0], [6.9]])[1].tolist() == [[1, 2], [6, 8]]
    model.partial_fit([[0.0], [7.0]], ids=[0, 50]).partial_fit([[99.0]])
    assert model.kneighbors([[0.0], [7.1], [99.0]], n_neighbors=1)[1].ravel().tolist() == [0, 50, 51]


def test_columns_of_the_graph_are_rows():
    model = Rows().fit(LINE).remove(0)
    graph = model.kneighbors_graph([[5.0], [0.9]], mode="distance")
    np.testing.assert_allclose(graph.toarray(), [[0, 0, 0, 1, 0], [0.1, 1.1, 0, 0, 0]], atol=1e-6)
    assert graph.indices.tolist() == [4, 3, 0, 1]
    with pytest.raises(ValueError, match="mode='weights' is unknown"):
        model.kneighbors_graph([[5.0]], mode="weights")


def test_a_refused_change_changes_nothing():
    model = Rows().fit(LINE)
    with pytest.raises(ValueError, match="id 3 is already stored, but ids must be unique"):
        model.partial_fit(LINE[:2], ids=[9, 3])
    with pytest.raises(ValueError, match="ids contains all 6 stored ids"):
        model.remove(range(6))
    with pytest.raises(ValueError, match="id 6 is not stored"):
        model.remove([0, 6])
    assert model.ids_.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("k", [0, 7, 1.5])
def test_numbers_of_neighbours_are_checked(k):
    with pytest.raises(ValueError, match="n_neighbors"):
        Rows().fit(LINE).kneighbors(LINE, n_neighbors=k)
