"""Search by comparison with all codes, block by block, against all distances."""

import numpy as np
import pytest

from sklinvariant.neighbors._codes import _exact_search
from sklinvariant.neighbors._codes._code_reader import pack_bits
from sklinvariant.neighbors._codes._exact_search import codes_within, exact_neighbors, nearest_of

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture
def bits(global_random_seed):
    return np.random.RandomState(global_random_seed).rand(60, 24) > 0.5


def _distances(queries, bits):
    return (queries[:, None] != bits).sum(-1)


@pytest.mark.parametrize("at_once", [None, 4])
def test_exact_neighbours_are_those_of_all_distances(bits, at_once, monkeypatch):
    if at_once:
        monkeypatch.setattr(_exact_search, "_queries_per_call", lambda codes: at_once)
    codes = pack_bits(bits, 0.5)
    distances, rows = exact_neighbors(codes[:9], codes, 5)
    every = _distances(bits[:9], bits)
    np.testing.assert_array_equal(distances, np.sort(every, axis=1)[:, :5])
    np.testing.assert_array_equal(np.take_along_axis(every, rows, axis=1), distances)
    limits, near, found = codes_within(codes[:9], codes, 9)
    for i in range(9):
        part = slice(limits[i], limits[i + 1])
        assert sorted(found[part]) == np.flatnonzero(every[i] <= 9).tolist()
        np.testing.assert_array_equal(near[part], every[i][found[part]])


@pytest.mark.parametrize("block_bytes", [1, 21, 1 << 20])
def test_blocks_and_removed_codes(bits, block_bytes, monkeypatch, global_random_seed):
    """Blocks of 1, 7 and all codes give the neighbours among the codes that are not removed."""
    monkeypatch.setattr(_exact_search, "_BLOCK_BYTES", block_bytes)
    codes = pack_bits(bits, 0.5)
    removed = np.random.RandomState(global_random_seed).rand(60) < 0.4
    removed[7:14] = True  # a whole block
    every = _distances(bits[:9], bits)
    for mask in (None, removed):
        kept = np.arange(60) if mask is None else np.flatnonzero(~mask)
        for k in (1, 5, len(kept)):
            distances, rows = exact_neighbors(codes[:9], codes, k, mask)
            np.testing.assert_array_equal(distances, np.sort(every[:, kept], axis=1)[:, :k])
            np.testing.assert_array_equal(np.take_along_axis(every, rows, axis=1), distances)
            assert np.isin(rows, kept).all()
            assert all(len(set(row)) == k for row in rows.tolist())
        limits, near, found = codes_within(codes[:9], codes, 9, mask)
        assert limits[-1] == len(near) == len(found)
        for i in range(9):
            part = slice(limits[i], limits[i + 1])
            assert found[part].tolist() == [j for j in kept if every[i, j] <= 9]
            np.testing.assert_array_equal(near[part], every[i][found[part]])


def test_nothing_stored_or_asked(bits):
    codes = pack_bits(bits, 0.5)
    assert exact_neighbors(codes[:2], codes[:0], 0)[1].shape == (2, 0)
    assert exact_neighbors(codes[:0], codes, 3)[1].shape == (0, 3)
    limits, near, found = codes_within(codes[:2], codes[:0], 5)
    assert (limits.tolist(), len(near), len(found)) == ([0, 0, 0], 0, 0)


def test_nearest_of_several_results():
    distances, ids = nearest_of([(np.array([[1, 3]]), np.array([[5, 6]])), (np.array([[1, 2]]), np.array([[7, 8]]))], 3)
    assert (distances.tolist(), ids.tolist()) == ([[1, 1, 2]], [[5, 7, 8]])
