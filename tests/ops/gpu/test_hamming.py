"""Kernel of the nearest codes against all distances."""

import numpy as np
import pytest
import torch

from sklinvariant.ops import BitPlanes, bit_planes, nearest_codes
from sklinvariant.ops._hamming import KEY_BITS, NO_KEY


def random_codes(n, n_bytes, seed=0):
    return np.random.RandomState(seed).randint(256, size=(n, n_bytes)).astype(np.uint8)


def expected_neighbors(queries, codes, k, removed=None):
    """Distances and rows, ties in favour of the lower row, from all distances."""
    distances = np.unpackbits(queries[:, None] ^ codes[None], axis=2).sum(2, dtype=np.int64)
    if removed is not None:
        distances[:, removed] = 1 << 20
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, rows, 1), rows


def assert_neighbors(kernels, codes, queries, k, removed=None, n_blocks=1):
    blocks = [bit_planes(part, kernels) for part in np.array_split(codes, n_blocks)]
    mask = None if removed is None else torch.from_numpy(removed).to(kernels)
    distances, rows = nearest_codes(blocks, bit_planes(queries, kernels), k, mask)
    assert (distances.dtype, rows.dtype) == (torch.int32, torch.int64)
    expected_distances, expected_rows = expected_neighbors(queries, codes, k, removed)
    np.testing.assert_array_equal(distances.cpu().numpy(), expected_distances)
    np.testing.assert_array_equal(rows.cpu().numpy(), expected_rows)


@pytest.fixture
def few_slots(kernels, monkeypatch):
    """Small ranges, so that a search has many of them."""
    from sklinvariant.ops.gpu import _hamming

    monkeypatch.setattr(_hamming, "SLOTS", 256)


@pytest.mark.parametrize("n_queries", [1, 3, 10])
@pytest.mark.parametrize(("n", "n_bytes", "k"), [(1, 8, 1), (3000, 8, 5), (700, 1, 90), (500, 3, 500), (300, 19, 4)])
def test_neighbors(kernels, n, n_bytes, k, n_queries):
    assert_neighbors(kernels, random_codes(n, n_bytes), random_codes(n_queries, n_bytes, 1), k)


@pytest.mark.parametrize("k", [1, 30, 1024])
def test_ranges_grow(kernels, few_slots, count_launches, k):
    assert_neighbors(kernels, random_codes(5000, 8), random_codes(2, 8, 1), k)
    assert count_launches.count("_near_kernel") >= 2


def test_equal_codes(kernels, few_slots, count_launches):
    codes = np.full((20_000, 8), 7, np.uint8)
    assert_neighbors(kernels, codes, codes[:3], 10)
    assert count_launches.count("_near_kernel") == 4  # no range has too many candidates


def test_later_codes_are_nearer(kernels, few_slots, count_launches):
    codes = np.packbits(np.arange(64) < np.arange(64, 0, -1).repeat(60)[:, None], axis=1)
    assert_neighbors(kernels, codes, np.zeros((2, 8), np.uint8), 20)
    assert count_launches.count("_near_kernel") > 6  # ranges with too many candidates were halved


@pytest.mark.parametrize("share", [0.1, 0.95])
def test_removed_codes(kernels, few_slots, share):
    codes = random_codes(3000, 8)
    removed = np.random.RandomState(2).rand(3000) < share
    removed[:500] = True
    assert_neighbors(kernels, codes, codes[:4], 20, removed, n_blocks=3)


def test_blocks_and_queries_in_parts(kernels, monkeypatch):
    from sklinvariant.ops import _hamming

    monkeypatch.setattr(_hamming, "QUERIES", 4)
    assert_neighbors(kernels, random_codes(1000, 5), random_codes(9, 5, 1), 7, n_blocks=3)


def test_an_index_searches_by_the_kernel(kernels, count_launches, monkeypatch):
    pytest.importorskip("faiss", reason="faiss is not installed")
    from sklinvariant.neighbors import HammingNeighbors

    monkeypatch.setattr(HammingNeighbors, "_search_device", lambda self: torch.device(kernels))
    codes = random_codes(500, 8)
    model = HammingNeighbors(4, packed=True).fit(codes[:300]).partial_fit(codes[300:])
    np.testing.assert_array_equal(model.kneighbors(codes[:3]), expected_neighbors(codes[:3], codes, 4))
    assert "_near_kernel" in count_launches


def test_planes_far_apart(kernels, tmp_path):
    """The third word of a code is more than 2³¹ words after the first, in memory that is hardly used."""
    shape = 3, 2**30 + 4096
    if kernels == "cpu":
        words = torch.from_numpy(np.memmap(tmp_path / "words", dtype=np.int32, mode="w+", shape=shape))
    else:
        words = torch.empty(shape, dtype=torch.int32, device=kernels)
    codes = random_codes(60, 12)
    words[:, :60] = bit_planes(codes, kernels).words[:, :60]
    distances, rows = nearest_codes([BitPlanes(words, 60)], bit_planes(codes[:2], kernels), 5)
    expected = expected_neighbors(codes[:2], codes, 5)
    np.testing.assert_array_equal((distances.cpu().numpy(), rows.cpu().numpy()), expected)


def test_rows_beyond_32_bits(kernels):
    from sklinvariant.ops.gpu._hamming import nearer_keys

    codes = random_codes(60, 8)
    queries = bit_planes(codes[:2], kernels).words[:, :2].T.contiguous()
    best = torch.full((2, 5), NO_KEY, dtype=torch.int64, device=kernels)
    keys = nearer_keys(best, bit_planes(codes, kernels), queries, 2**35, None).cpu().numpy()
    expected = expected_neighbors(codes[:2], codes, 5)
    np.testing.assert_array_equal(
        (keys >> KEY_BITS, keys & (2**KEY_BITS - 1)), expected + np.array([0, 2**35])[:, None, None]
    )


def test_no_queries(kernels):
    assert_neighbors(kernels, random_codes(10, 8), random_codes(0, 8), 3)
