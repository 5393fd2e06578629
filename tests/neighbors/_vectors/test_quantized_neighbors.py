"""QuantizedNeighbors against brute force."""

import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from tolerance import assert_close

from sklinvariant import QuantizedNeighbors, load, save
from sklinvariant.neighbors._vectors import _quantized_neighbors

faiss = pytest.importorskip("faiss")
if not hasattr(faiss, "IndexRaBitQFastScan"):
    pytest.skip("this faiss has no RaBitQ of several bits", allow_module_level=True)

RNG = np.random.RandomState(0)
CENTRES = RNG.normal(size=(20, 64))
X = (CENTRES[RNG.randint(20, size=2000)] + 0.5 * RNG.normal(size=(2000, 64))).astype(np.float32)
QUERIES = (CENTRES[RNG.randint(20, size=100)] + 0.5 * RNG.normal(size=(100, 64))).astype(np.float32)


def quantized(X=X, **settings):
    return QuantizedNeighbors(**{"n_neighbors": 10, "random_state": 0, **settings}).fit(X)


def exact(metric="euclidean", X=X, queries=QUERIES, k=10):
    return NearestNeighbors(n_neighbors=k, algorithm="brute", metric=metric).fit(X).kneighbors(queries)


def recall(ids, true):
    return np.mean([np.isin(a, b).mean() for a, b in zip(true, ids, strict=True)])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("n_bits", "least"), [(1, 0.2), (2, 0.35), (4, 0.7), (8, 0.95)])
def test_recall_and_distances_against_exact_neighbours(metric, n_bits, least):
    distances, ids = quantized(n_bits=n_bits, metric=metric).kneighbors(QUERIES)
    true_distances, true_ids = exact(metric)
    assert recall(ids, true_ids) > least
    assert (np.diff(distances, axis=1) >= 0).all()
    if n_bits == 8:
        assert_close(distances, true_distances, rtol=0.02)


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_bytes_of_a_vector(n_bits):
    factors = 8 if n_bits == 1 else 20
    assert quantized(n_bits=n_bits).codes_.shape == (2000, 64 * n_bits // 8 + factors)


def test_blocks_of_codes_give_the_answer_of_one_block(monkeypatch):
    expected = quantized().kneighbors(QUERIES)
    monkeypatch.setattr(_quantized_neighbors, "_BLOCK_BYTES", 6000)
    monkeypatch.setattr(_quantized_neighbors, "_ENCODED", 7)
    distances, ids = quantized().kneighbors(QUERIES)
    np.testing.assert_array_equal(ids, expected[1])
    assert_close(distances, expected[0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_distances_keep_the_scale_of_the_data(metric, scale):
    distances, ids = quantized(metric=metric).kneighbors(QUERIES)
    scaled, found = quantized(scale * X.astype(np.float64), metric=metric).kneighbors(
        scale * QUERIES.astype(np.float64)
    )
    assert recall(found, ids) > 0.98
    assert_close(scaled, distances * (scale if metric == "euclidean" else 1), rtol=1e-3)


def test_a_shift_of_the_data_does_not_change_neighbours():
    ids = quantized().kneighbors(QUERIES)[1]
    shifted = quantized(X.astype(np.float64) + 1e6).kneighbors(QUERIES.astype(np.float64) + 1e6)[1]
    assert recall(shifted, ids) > 0.98


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e12])
@pytest.mark.parametrize("row", [0, 1999])
def test_one_large_row_does_not_change_neighbours(scale, row):
    rows = X.astype(np.float64)
    rows[row] *= scale
    assert recall(quantized(rows).kneighbors(QUERIES)[1], quantized().kneighbors(QUERIES)[1]) > 0.9
    distances, ids = quantized(rows).kneighbors(rows[[row]], n_neighbors=1)
    assert ids == row
    assert distances < 0.2 * scale


def test_a_large_row_between_the_sampled_ones_does_not_change_neighbours(monkeypatch):
    rows = X.copy()
    rows[1] *= 1e12
    monkeypatch.setattr(_quantized_neighbors, "_SAMPLED_ROWS", 500)
    assert recall(quantized(rows).kneighbors(QUERIES)[1], quantized().kneighbors(QUERIES)[1]) > 0.9


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_bits", [1, 4])
def test_rows_without_spread(metric, n_bits):
    one = quantized(X[:1], metric=metric, n_bits=n_bits)
    assert one.kneighbors(X[:1], n_neighbors=1)[1].tolist() == [[0]]
    constant = quantized(np.ones((5, 3)), metric=metric, n_bits=n_bits)
    distances, ids = constant.kneighbors(np.ones((1, 3)), n_neighbors=5)
    assert_close(distances, np.zeros((1, 5)), atol=1e-3)
    assert sorted(ids[0]) == [0, 1, 2, 3, 4]


def test_a_row_of_zeros_is_at_right_angles_to_all():
    rows = np.concatenate([X[:50], np.zeros((1, 64), dtype=np.float32)])
    model = quantized(rows, metric="cosine", n_bits=8)
    distances, ids = model.kneighbors(rows, n_neighbors=51)
    assert_close(distances[50], np.ones(51), atol=0.02)
    assert_close(distances[ids == 50], np.ones(51), atol=0.02)


def test_ids_are_added_and_removed():
    model = quantized(X[:100], n_neighbors=1, n_bits=8).partial_fit(X[100:110])
    assert model.ids_.tolist() == list(range(110))
    model.remove([0, 105]).partial_fit(X[:1], ids=[7000]).partial_fit(X[105:106])
    assert model.n_samples_fit_ == 110
    assert model.kneighbors(X[[0, 1, 104, 105]])[1].ravel().tolist() == [7000, 1, 104, 7001]
    with pytest.raises(ValueError, match="id 1 is already stored, but ids must be unique"):
        model.partial_fit(X[:2], ids=[9000, 1])
    with pytest.raises(ValueError, match="id 0 is not stored, but only stored vectors can be removed"):
        model.remove([1, 0])
    assert model.n_samples_fit_ == 110


def test_the_graph_holds_the_neighbours():
    model = quantized(X, n_neighbors=3).remove(range(10))
    distances, ids = model.kneighbors(QUERIES)
    graph = model.kneighbors_graph(QUERIES, mode="distance")
    assert graph.shape == (100, 1990)
    np.testing.assert_array_equal(model.ids_[graph.indices].reshape(100, 3), ids)
    np.testing.assert_array_equal(graph.data.reshape(100, 3), distances)
    assert (model.kneighbors_graph(QUERIES).data == 1).all()


def test_settings_of_the_fit_stay_with_the_codes(tmp_path):
    model = quantized(n_bits=2, metric="cosine")
    expected = model.kneighbors(QUERIES)
    save(model, tmp_path / "model")
    again = [
        pickle.loads(pickle.dumps(model)),
        load(tmp_path / "model"),
        model.set_params(n_bits=4, metric="euclidean"),
    ]
    for other in again:
        for a, b in zip(other.kneighbors(QUERIES), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_tensors_are_answered_with_tensors():
    expected = quantized().kneighbors(QUERIES)
    distances, ids = quantized(torch.tensor(X)).kneighbors(torch.tensor(QUERIES))
    np.testing.assert_array_equal(ids.numpy(), expected[1])
    assert_close(distances.numpy(), expected[0])


def test_errors_say_what_to_do():
    model = quantized(X[:20])
    with pytest.raises(
        ValueError, match="Expected n_neighbors <= n_samples_fit, but n_neighbors = 21, n_samples_fit = 20"
    ):
        model.kneighbors(QUERIES, n_neighbors=21)
    with pytest.raises(ValueError, match="n_neighbors=0 is not valid"):
        model.kneighbors(QUERIES, n_neighbors=0)
    with pytest.raises(ValueError, match="too large in the unit of the rows of the fit"):
        model.partial_fit(X.astype(np.float64) * 1e17)
    assert model.n_samples_fit_ == 20


def test_a_missing_or_old_faiss_is_named(monkeypatch):
    monkeypatch.delattr(faiss, "IndexRaBitQ")
    with pytest.raises(ImportError, match=r"RaBitQ.*pip install --upgrade"):
        quantized()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"QuantizedNeighbors needs faiss: pip install \"sklinvariant\[faiss\]\""):
        quantized()


def test_codes_of_another_width_are_refused(tmp_path):
    model = quantized()
    model._state["codes"] = model._state["codes"][:, 1:].copy()
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"codes should be of uint8 with shape \(2000, 52\)"):
        load(tmp_path / "model")


@pytest.mark.parametrize(("metric", "radius"), [("euclidean", 6.5), ("cosine", 0.25)])
def test_vectors_within_a_radius(metric, radius):
    model = quantized(n_bits=8, metric=metric, radius=radius)
    distances, ids = model.radius_neighbors(QUERIES, sort_results=True)
    all_distances, all_ids = model.kneighbors(QUERIES, n_neighbors=2000)
    for row in range(100):
        n = (all_distances[row] <= radius).sum()
        assert_close(distances[row], all_distances[row, :n])
        assert set(ids[row]) == set(all_ids[row, :n])
    true = NearestNeighbors(metric=metric, radius=radius).fit(X).radius_neighbors(QUERIES)[1]
    shared = sum(len(np.intersect1d(a, b)) for a, b in zip(true, ids, strict=True))
    assert shared > 0.95 * max(sum(map(len, true)), sum(map(len, ids))) > 1000
    assert all(len(one) == 2000 for one in model.radius_neighbors(QUERIES, radius=np.inf)[1])
