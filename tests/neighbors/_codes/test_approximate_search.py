"""Approximate indexes: what they find, their bytes, how they grow and merge."""

import numpy as np
import pytest

from sklinvariant.neighbors._codes._approximate_search import APPROXIMATE
from sklinvariant.neighbors._codes._code_reader import pack_bits

pytest.importorskip("faiss", reason="faiss is not installed")
KNOBS = {"n_lists": 5, "n_links": 8, "ef_construction": 40, "n_tables": 2, "table_bits": 6}


@pytest.fixture
def bits(global_random_seed):
    return np.random.RandomState(global_random_seed).rand(60, 24) > 0.5


def _distances(queries, bits):
    return (queries[:, None] != bits).sum(-1)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_the_largest_effort_finds_the_nearest_of_most(bits, kind):
    codes = pack_bits(bits, 0.5)
    index = APPROXIMATE[kind].build(codes[:40], 0, **KNOBS)
    index.add(codes[40:])
    assert len(index) == 60
    efforts = index.efforts()
    assert efforts == sorted(efforts)
    every = _distances(bits, bits)
    for _ in range(2):  # built, and read from its bytes
        distances, rows = index.search(codes, 3, efforts[-1])
        assert (distances[:, 0] == 0).mean() > 0.9  # itself
        found = rows >= 0
        np.testing.assert_array_equal(np.take_along_axis(every, rows.clip(0), axis=1)[found], distances[found])
        if kind != "multihash":  # which is built again
            index = APPROXIMATE[kind].from_bytes(index.to_bytes(), codes)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_bytes_that_do_not_match_the_codes(bits, kind):
    codes = pack_bits(bits, 0.5)
    data = APPROXIMATE[kind].build(codes, 0, **KNOBS).to_bytes()
    with pytest.raises(ValueError, match="contents do not match"):
        APPROXIMATE[kind].from_bytes(data, codes[:50])
    with pytest.raises(ValueError, match="faiss cannot read it"):
        APPROXIMATE[kind].from_bytes(data[:20].copy(), codes)
