"""EmbeddingNeighbors against brute force, and its steps one by one."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import NearestNeighbors
from tolerance import assert_close

from sklinvariant import EmbeddingNeighbors, HammingNeighbors, ITQHasher, LSHHasher, load, save
from sklinvariant.neighbors._vectors import _vector_store
from sklinvariant.neighbors._vectors._asymmetric import asymmetric_distances
from sklinvariant.neighbors._vectors._vector_store import Precision

pytest.importorskip("faiss")

RNG = np.random.RandomState(0)
CENTRES = RNG.normal(size=(20, 24))
X = (CENTRES[RNG.randint(20, size=600)] + 0.5 * RNG.normal(size=(600, 24))).astype(np.float32)
QUERIES = (CENTRES[RNG.randint(20, size=50)] + 0.5 * RNG.normal(size=(50, 24))).astype(np.float32)
EXACT = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(X)


def recall(ids):
    true = EXACT.kneighbors(QUERIES, return_distance=False)
    return np.mean([np.isin(a, b).mean() for a, b in zip(true, ids, strict=True)])


def search(**settings):
    return EmbeddingNeighbors(5, **{"random_state": 0, **settings}).fit(X)


def test_all_candidates_rescored_in_float32_are_the_exact_neighbours():
    distances, ids = search(rescore="float32", n_candidates=600).kneighbors(QUERIES)
    true_distances, true_ids = EXACT.kneighbors(QUERIES)
    np.testing.assert_array_equal(ids, true_ids)
    assert_close(distances, true_distances, rtol=1e-5)


@pytest.mark.parametrize(("rescore", "least"), [("float16", 0.98), ("int8", 0.95)])
def test_rounded_vectors_rank_almost_as_well(rescore, least):
    assert recall(search(rescore=rescore, n_candidates=600).kneighbors(QUERIES)[1]) > least


@pytest.mark.parametrize("rescore", ["float32", "float16", "int8"])
@pytest.mark.parametrize("large", [1e3, 1e4, 1e7])
def test_one_large_row_does_not_change_the_neighbours_of_the_others(rescore, large):
    rows = RNG.normal(size=(2000, 32)).astype(np.float32)
    queries = RNG.normal(size=(50, 32)).astype(np.float32)
    true = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(rows).kneighbors(queries, return_distance=False)
    rows = np.concatenate([rows, np.full((1, 32), large, dtype=np.float32)])
    model = EmbeddingNeighbors(5, rescore=rescore, n_candidates=2001, random_state=0).fit(rows)
    ids = model.kneighbors(queries)[1]
    assert np.mean([np.isin(a, b).mean() for a, b in zip(true, ids, strict=True)]) >= 0.95


def test_every_step_finds_more_neighbours():
    hasher = LSHHasher(64, random_state=0)
    codes = search(hasher=hasher, rescore=None).kneighbors(QUERIES)[1]
    asymmetric = search(hasher=hasher, rescore=None, asymmetric=True).kneighbors(QUERIES)[1]
    few = search(hasher=hasher, n_candidates=20).kneighbors(QUERIES)[1]
    many = search(hasher=hasher, n_candidates=100).kneighbors(QUERIES)[1]
    assert recall(codes) + 0.02 < recall(asymmetric) < recall(few) < recall(many)


def test_without_vectors_it_is_hamming_neighbors():
    model, hasher = search(rescore=None, hasher=ITQHasher(16, random_state=0)), ITQHasher(16, random_state=0).fit(X)
    expected = HammingNeighbors(5).fit(hasher.transform(X)).kneighbors(hasher.transform(QUERIES))[0]
    np.testing.assert_array_equal(model.kneighbors(QUERIES)[0], expected)


def test_asymmetric_distances_are_those_of_the_projections():
    model = search(rescore=None, asymmetric=True, n_candidates=600, hasher=LSHHasher(32, random_state=0))
    codes = np.packbits(model.hasher_.transform(X), axis=1)
    scores = model.hasher_.decision_function(QUERIES)
    expected = np.sort([asymmetric_distances(row, codes) for row in scores], axis=1)[:, :5]
    assert_close(model.kneighbors(QUERIES)[0], expected)


def test_asymmetric_ranking_chooses_the_vectors_that_are_read():
    settings = {"rescore": "float32", "n_candidates": 600, "n_rescored": 10, "hasher": LSHHasher(64, random_state=0)}
    by_bits = search(**settings).kneighbors(QUERIES)[1]
    by_projections = search(**settings, asymmetric=True).kneighbors(QUERIES)[1]
    assert recall(by_bits) + 0.03 < recall(by_projections)


@pytest.mark.parametrize("rescore", ["float32", "float16", "int8"])
def test_a_file_gives_the_answers_of_memory(tmp_path, rescore):
    path = tmp_path / "vectors.npy"
    in_file, in_memory = search(rescore=rescore, vectors=path), search(rescore=rescore)
    assert np.load(path).dtype == rescore
    assert in_file._state["vectors"] is None
    np.testing.assert_array_equal(in_file.kneighbors(QUERIES)[1], in_memory.kneighbors(QUERIES)[1])


@pytest.mark.parametrize("in_file", [False, True])
def test_added_vectors_are_found(tmp_path, in_file):
    path = str(tmp_path / "vectors.npy") if in_file else None
    model = search(rescore="float32", vectors=path, n_candidates=800)
    model.partial_fit(QUERIES[:30]).partial_fit(QUERIES[30:])
    distances, ids = model.kneighbors(QUERIES, n_neighbors=1)
    assert_close(distances[:, 0], np.zeros(50))
    np.testing.assert_array_equal(ids[:, 0], np.arange(600, 650))
    assert model.n_samples_fit_ == 650


@pytest.mark.parametrize("index", [None, HammingNeighbors(index="ivf", n_probes=16, random_state=0)])
@pytest.mark.parametrize("in_file", [False, True])
def test_removed_vectors_are_not_found(tmp_path, in_file, index):
    path = str(tmp_path / "vectors.npy") if in_file else None
    model = search(rescore="float32", vectors=path, index=index, n_candidates=800)
    model.remove(range(0, 600, 2)).partial_fit(QUERIES).remove(640)
    kept = np.delete(np.concatenate([X[1::2], QUERIES]), 340, axis=0)
    distances, ids = model.kneighbors(QUERIES)
    true_distances, rows = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(kept).kneighbors(QUERIES)
    np.testing.assert_array_equal(ids, np.delete(np.append(np.arange(1, 600, 2), np.arange(600, 650)), 340)[rows])
    assert_close(distances, true_distances, rtol=1e-5, atol=1e-3)
    assert model.n_samples_fit_ == len(model.ids_) == 349


def test_removal_of_unknown_or_all_ids_is_refused():
    model = search()
    with pytest.raises(ValueError, match="id 600 is not stored, but only stored vectors can be removed"):
        model.remove([5, 600])
    with pytest.raises(ValueError, match="ids contains all 600 stored ids, but one must remain"):
        model.remove(range(600))
    assert model.remove([]).n_samples_fit_ == 600


def test_ids_are_returned_and_stay_unique():
    model = EmbeddingNeighbors(1, random_state=0).fit(X[:100], ids=np.arange(100) * 10)
    np.testing.assert_array_equal(model.kneighbors(X[:100])[1][:, 0], np.arange(100) * 10)
    model.partial_fit(X[100:110]).partial_fit(X[110:111], ids=[5])
    assert model.ids_[-2:].tolist() == [1000, 5]
    with pytest.raises(ValueError, match="id 5 is already stored, but ids must be unique"):
        model.partial_fit(X[111:113], ids=[7, 5])
    assert model.n_samples_fit_ == 111


def test_stored_vectors_are_queries_that_exclude_themselves():
    model = search(rescore="float32", n_candidates=599)
    np.testing.assert_array_equal(model.kneighbors()[1], EXACT.kneighbors(return_distance=False))
    graph = model.kneighbors_graph(mode="distance")
    assert_close(graph.toarray(), EXACT.kneighbors_graph(mode="distance").toarray(), rtol=1e-4)


def test_the_estimated_recall_is_that_of_brute_force():
    model = search(rescore="float32", n_candidates=10, hasher=ITQHasher(16, random_state=0))
    assert_close(model.estimate_recall(QUERIES), recall(model.kneighbors(QUERIES)[1]))
    assert model.set_params(n_candidates=600).estimate_recall(QUERIES) == 1


@pytest.mark.parametrize("rescore", ["float32", "float16", "int8"])
def test_the_estimated_recall_of_stored_vectors_excludes_themselves(rescore):
    model = search(rescore=rescore, n_candidates=600, hasher=ITQHasher(16, random_state=0))
    assert model.estimate_recall(None, n_neighbors=1) == 1
    assert model.set_params(n_candidates=10).estimate_recall(None) < 0.9


def test_stored_vectors_are_decoded_a_few_at_a_time(monkeypatch):
    model, decoded, decode = search(), [], Precision.decode
    monkeypatch.setattr(Precision, "decode", lambda self, rows: decoded.append(len(rows)) or decode(self, rows))
    model.kneighbors()
    assert sum(decoded) == 600
    assert max(decoded) < 100


def test_an_approximate_index_searches_the_codes():
    model = search(index=HammingNeighbors(index="ivf", n_jobs=1, random_state=0), n_candidates=100)
    assert model.index_.effort_ is not None
    assert recall(model.kneighbors(QUERIES)[1]) > 0.9


def test_few_vectors_are_all_candidates():
    assert EmbeddingNeighbors(2, random_state=0).fit(X[:3]).kneighbors(QUERIES)[1].shape == (50, 2)
    with pytest.raises(ValueError, match="Expected n_neighbors <= n_samples_fit"):
        EmbeddingNeighbors(4, random_state=0).fit(X[:3]).kneighbors(QUERIES)


def test_the_hasher_is_fitted_to_a_sample():
    fitted_to = []

    class Recorded(ITQHasher):
        def fit(self, X, y=None):
            fitted_to.append(len(X))
            return super().fit(X, y)

    search(hasher=Recorded(8, random_state=0), subsample=100)
    assert fitted_to == [100]


def test_a_frozen_hasher_is_not_fitted_again():
    hasher = LSHHasher(16, random_state=3).fit(X[:50])
    model = search(hasher=FrozenEstimator(hasher))
    np.testing.assert_array_equal(model.hasher_.decision_function(QUERIES), hasher.decision_function(QUERIES))


@pytest.mark.parametrize("in_file", [False, True])
def test_saved_and_pickled_models_answer_alike(tmp_path, in_file):
    model = search(rescore="int8", vectors=str(tmp_path / "vectors.npy") if in_file else None)
    expected = model.kneighbors(QUERIES)[1]
    save(model, tmp_path / "model")
    for again in (load(tmp_path / "model"), load(tmp_path / "model", mmap_mode="r"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.kneighbors(QUERIES)[1], expected)
        again.partial_fit(QUERIES[:1])
        assert again.n_samples_fit_ == 601


def test_a_pickle_does_not_contain_the_file(tmp_path):
    model = search(rescore="float32", vectors=str(tmp_path / "vectors.npy"), hasher=LSHHasher(8, random_state=0))
    before = len(pickle.dumps(model))
    model.kneighbors(QUERIES)
    assert len(pickle.dumps(model)) - before < 100


def test_a_lost_file_and_missing_vectors_have_clear_errors(tmp_path):
    model = search(vectors=str(tmp_path / "vectors.npy"))
    np.save(tmp_path / "vectors.npy", X[:7])
    with pytest.raises(ValueError, match=r"holds float32 of shape \(7, 24\), but float16 of shape \(600, 24\)"):
        model.kneighbors(QUERIES)
    with pytest.raises(ValueError, match=r"the vectors were stored in a file\. Call set_params\(vectors="):
        model.set_params(vectors=None).kneighbors(QUERIES)
    with pytest.raises(ValueError, match=r"no vectors are stored\. Fit with rescore="):
        search(rescore=None).set_params(rescore="int8").kneighbors(QUERIES)
    with pytest.raises(ValueError, match="no vectors are stored"):
        search(rescore=None).kneighbors()


def test_a_saved_index_finds_its_file_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = search(vectors="vectors.npy")
    expected = model.kneighbors(QUERIES)[1]
    model.save("index")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = EmbeddingNeighbors.load(tmp_path / "index")
    with pytest.raises(FileNotFoundError, match=r"vectors='vectors.npy' does not exist.*call set_params\(vectors="):
        again.kneighbors(QUERIES)
    again.set_params(vectors=tmp_path / "vectors.npy")
    np.testing.assert_array_equal(again.kneighbors(QUERIES)[1], expected)


def test_a_file_that_another_fit_replaced_is_refused(tmp_path):
    path = tmp_path / "vectors.npy"
    model = search(vectors=path)
    other = clone(model).fit(X[::-1])
    expected = other.kneighbors(QUERIES)[1]
    for use in (
        lambda: model.kneighbors(QUERIES),
        lambda: model.partial_fit(QUERIES),
        lambda: model.estimate_recall(X),
    ):
        with pytest.raises(ValueError, match=r"holds other vectors than this estimator stored there"):
            use()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(other)).kneighbors(QUERIES)[1], expected)
    again = clone(model).fit(X)  # the same vectors
    np.testing.assert_array_equal(model.kneighbors(QUERIES)[1], again.kneighbors(QUERIES)[1])


def test_a_file_of_the_users_is_not_replaced(tmp_path):
    path = tmp_path / "same.npy"
    np.save(path, X)
    before = path.read_bytes()
    for rows in (np.load(path, mmap_mode="r"), X):
        with pytest.raises((ValueError, FileExistsError), match="Pass the name of another file"):
            EmbeddingNeighbors(vectors=path).fit(rows)
    assert path.read_bytes() == before


def test_a_refit_replaces_its_own_file_unless_x_is_mapped_from_it(tmp_path):
    model = search(vectors=tmp_path / "own.npy", rescore="float32")
    expected = model.fit(X).partial_fit(QUERIES).remove(3).fit(X).kneighbors(QUERIES)[1]
    with pytest.raises(ValueError, match="is the file from which X is memory-mapped"):
        model.fit(np.load(tmp_path / "own.npy", mmap_mode="r"))
    np.testing.assert_array_equal(model.kneighbors(QUERIES)[1], expected)


def test_a_folder_is_no_file_for_vectors(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder, but the name of a file is required"):
        EmbeddingNeighbors(vectors=tmp_path).fit(X)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*missing\. Create it"):
        EmbeddingNeighbors(vectors=tmp_path / "missing" / "vectors.npy").fit(X)
    assert not list(tmp_path.iterdir())


def test_copies_that_add_different_vectors_to_a_file_are_refused(tmp_path):
    model = search(vectors=str(tmp_path / "vectors.npy"))
    first, second = (pickle.loads(pickle.dumps(model)).partial_fit(rows) for rows in (QUERIES[:1], QUERIES[1:2]))
    assert second.kneighbors(QUERIES[1:2], n_neighbors=1)[1].tolist() == [[600]]
    with pytest.raises(ValueError, match="another fit or partial_fit has changed the file"):
        first.kneighbors(QUERIES)
    assert model.kneighbors(QUERIES)[1].max() < 600


def test_a_failed_addition_keeps_the_file_and_the_model(tmp_path):
    model = search(vectors=tmp_path / "vectors.npy")
    expected = model.kneighbors(QUERIES)[1]
    with pytest.raises(ValueError, match="too large for float16"):
        model.partial_fit(np.concatenate([X, X * 1e6]))
    np.testing.assert_array_equal(model.kneighbors(QUERIES)[1], expected)
    assert model.n_samples_fit_ == model.index_.n_samples_fit_ == 600


@pytest.mark.parametrize("rescore", ["float32", "float16", "int8"])
def test_distances_keep_the_scale_and_ignore_the_shift_of_the_data(rescore):
    expected, ids = search(rescore=rescore, n_candidates=600).kneighbors(QUERIES)
    settings = {"rescore": rescore, "n_candidates": 600, "random_state": 0}
    model = EmbeddingNeighbors(5, **settings).fit(1e150 * X.astype(np.float64))
    distances, found = model.kneighbors(1e150 * QUERIES.astype(np.float64))
    assert_close(distances, 1e150 * expected, rtol=1e-3)
    assert (found == ids).mean() > 0.98


def test_integers_and_float64_are_read_as_float32():
    whole = np.round(10 * X)
    expected = search(rescore="float32").fit(whole).kneighbors(whole[:9])[1]
    np.testing.assert_array_equal(search(rescore="float32").fit(whole.astype(int)).kneighbors(whole[:9])[1], expected)


@pytest.mark.parametrize("shape", [1, 2000])
def test_vectors_within_a_radius_are_those_of_scikit_learn(monkeypatch, shape):
    monkeypatch.setattr(_vector_store, "_BLOCK_BYTES", 24 * 8 * shape)
    model = search(rescore="float32", radius=4.5)
    expected = EXACT.radius_neighbors(QUERIES, radius=4.5, sort_results=True)
    found = model.radius_neighbors(QUERIES, sort_results=True)
    assert sum(map(len, found[1])) > 100
    for ids, true_ids, distances, true_distances in zip(found[1], expected[1], found[0], expected[0], strict=True):
        np.testing.assert_array_equal(ids, true_ids)
        assert_close(distances, true_distances, rtol=1e-5)
    graph, true_graph = (one.radius_neighbors_graph(QUERIES, 4.5, mode="distance") for one in (model, EXACT))
    assert_close(graph.toarray(), true_graph.toarray(), rtol=1e-5)


def test_stored_vectors_within_a_radius_exclude_themselves():
    model = search(rescore="float32").partial_fit(X[:1]).remove(1)
    distances, ids = model.radius_neighbors(radius=0)
    assert ids[0].tolist() == [600]
    assert ids[-1].tolist() == [0]
    assert distances[0].tolist() == [0.0]
    assert sum(map(len, ids)) == 2
    assert all(len(one) == 599 for one in model.radius_neighbors(radius=np.inf)[1])


def test_a_radius_needs_vectors():
    with pytest.raises(ValueError, match="no vectors are stored"):
        search(rescore=None).radius_neighbors(QUERIES)
    with pytest.raises(ValueError, match=r"radius=-1 is not valid\. Pass a distance of at least 0"):
        search().radius_neighbors(QUERIES, radius=-1)
    with pytest.raises(ValueError, match="return_distance must be True"):
        search().radius_neighbors(QUERIES, return_distance=False, sort_results=True)
