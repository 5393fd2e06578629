"""Search by comparison with all codes, block by block, against all distances."""

import numpy as np
import pytest

from sklinvariant.neighbors import _exact_search
from sklinvariant.neighbors._code_reader import pack_bits
from sklinvariant.neighbors._exact_search import codes_within, exact_neighbors

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
