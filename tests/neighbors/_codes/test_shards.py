"""Several indexes searched as one."""

import numpy as np
import pytest
import torch

from sklinvariant.neighbors import HammingNeighbors, HammingShards, merge_neighbors

pytest.importorskip("faiss")


@pytest.fixture
def codes(global_random_seed):
    return np.random.RandomState(global_random_seed).randint(2, size=(300, 20))


@pytest.fixture
def queries(global_random_seed):
    return np.random.RandomState(global_random_seed + 1).randint(2, size=(15, 20))


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("with_ids", [False, True])
def test_shards_are_one_index(with_ids, n_jobs, codes, queries, tmp_path):
    ids = np.random.RandomState(0).permutation(10**6)[:300] if with_ids else None
    whole = HammingNeighbors(7).fit(codes, ids=ids)
    paths = []
    for i, rows in enumerate(np.split(np.arange(300), [3, 200])):
        paths.append(tmp_path / str(i))
        HammingNeighbors(7).fit(codes[rows], ids=None if ids is None else ids[rows]).save(paths[-1])
    shards = HammingShards(paths, n_jobs=n_jobs)
    assert shards.n_samples_fit_ == 300
    for k in (None, 1, 5, 300):
        distances, found = shards.kneighbors(queries, k)
        expected, ids_of_whole = whole.kneighbors(queries, k)
        np.testing.assert_array_equal(distances, expected)
        for row in range(len(queries)):  # the last distance may occur more often
            sure = distances[row] < distances[row, -1]
            assert set(found[row][sure]) == set(ids_of_whole[row][sure])
    np.testing.assert_array_equal(shards.kneighbors(queries, return_distance=False), shards.kneighbors(queries)[1])


def test_open_indexes_of_several_kinds_with_removed_codes(codes, queries):
    one = HammingNeighbors(3, index="ivf", n_probes=100, random_state=0).fit(codes[:100]).remove([2, 3])
    other = HammingNeighbors(index="hnsw", ef_search=300, n_jobs=1).fit(codes[100:])
    empty = HammingNeighbors().fit(codes[:2]).remove([0, 1])
    shards = HammingShards([one, empty, other])
    expected = np.delete(codes, [2, 3], axis=0)
    distances, ids = shards.kneighbors(queries)
    assert distances.shape == (15, 3)
    true = np.sort((queries[:, None] != expected).sum(-1), axis=1)[:, :3]
    assert (distances == true).mean() > 0.95
    assert ids.max() >= 102  # 100 of the first shard, 2 of the second
    found = np.where(ids >= 102, ids - 2, ids)
    np.testing.assert_array_equal((codes[found] != queries[:, None]).sum(-1), distances)


def test_tensors_in_tensors_out(codes, queries):
    shards = HammingShards([HammingNeighbors().fit(codes[:100]), HammingNeighbors().fit(codes[100:])])
    distances, ids = shards.kneighbors(torch.as_tensor(queries), 4)
    np.testing.assert_array_equal(distances.numpy(), shards.kneighbors(queries, 4)[0])
    assert ids.dtype == torch.int64


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda c: HammingShards([]), "at least one path or index"),
        (lambda c: HammingShards("index"), "at least one path or index"),
        (lambda c: HammingShards([HammingNeighbors()]), "not fitted"),
        (lambda c: HammingShards([HammingNeighbors().fit(c)], n_jobs=0), "n_jobs=0 is not valid"),
        (
            lambda c: HammingShards([HammingNeighbors().fit(c), HammingNeighbors().fit(c[:, :9])]),
            "shard 1 has 9 features",
        ),
        (lambda c: HammingShards([HammingNeighbors().fit(c)]).kneighbors(c[:1], 301), "from 1 to 300"),
        (lambda c: HammingShards([HammingNeighbors().fit(c)]).kneighbors(c[:1], 0), "n_neighbors=0"),
        (lambda c: HammingShards([HammingNeighbors().fit(c)]).kneighbors(c[:, :9]), "9 features"),
        (lambda c: merge_neighbors([]), "results is empty"),
        (lambda c: merge_neighbors([([[1]], [[1, 2]])]), "same queries"),
        (lambda c: merge_neighbors([([[1]], [[1]]), ([[1], [2]], [[1], [2]])]), "same queries"),
        (lambda c: merge_neighbors([([[1]], [[1]])], 2), "from 1 to 1"),
    ],
)
def test_what_is_refused(act, message, codes):
    with pytest.raises(ValueError, match=message):
        act(codes)


def test_shards_of_an_iterator(codes, queries):
    parts = [HammingNeighbors().fit(codes[:100]), HammingNeighbors().fit(codes[100:])]
    found = HammingShards(part for part in parts).kneighbors(queries, 1)
    np.testing.assert_array_equal(found, HammingShards(parts).kneighbors(queries, 1))
    with pytest.raises(ValueError, match="a sequence of at least one path or index is required"):
        HammingShards(iter([]))


def test_queries_in_dask(codes, queries):
    blocks = pytest.importorskip("dask.array").from_array(queries, chunks=(4, 20))
    shards = HammingShards([HammingNeighbors().fit(codes)])
    np.testing.assert_array_equal(shards.kneighbors(blocks), shards.kneighbors(queries))


def test_results_of_workers(codes, queries):
    """The parts can be searched anywhere: only distances and ids are merged."""
    parts = [HammingNeighbors().fit(codes[rows], ids=rows) for rows in np.array_split(np.arange(300), 4)]
    distances, ids = merge_neighbors([part.kneighbors(queries, 6) for part in parts], 6)
    np.testing.assert_array_equal(distances, HammingNeighbors().fit(codes).kneighbors(queries, 6)[0])
    np.testing.assert_array_equal((codes[ids] != queries[:, None]).sum(-1), distances)
    assert merge_neighbors([part.kneighbors(queries, 2) for part in parts])[0].shape == (15, 2)
