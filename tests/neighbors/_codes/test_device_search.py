"""Exact search by torch on a device, against all distances and against faiss."""

import pickle

import numpy as np
import pytest
import torch

from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.neighbors._codes._device_search import _MOST_BLOCKS, DeviceCodes
from sklinvariant.neighbors._codes._indexed_codes import IndexedCodes


def _codes(n, n_bytes, seed):
    return np.random.RandomState(seed).randint(256, size=(n, n_bytes)).astype(np.uint8)


def _expected(queries, codes, k, removed=None):
    distances = np.unpackbits(queries[:, None] ^ codes[None], axis=2).sum(2, dtype=np.int64)
    if removed is not None:
        distances[:, removed] = 1 << 20
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, rows, 1), rows


@pytest.fixture
def on_device(device, monkeypatch):
    """Exact searches run on ``device``, also where that is the CPU."""
    monkeypatch.setattr(IndexedCodes, "_search_device", lambda self: torch.device(device))


@pytest.mark.parametrize("n_bytes", [1, 3, 8, 33])
@pytest.mark.parametrize("masked", [False, True])
def test_neighbors_are_those_of_all_distances(n_bytes, masked, device, global_random_seed):
    codes, queries = _codes(200, n_bytes, global_random_seed), _codes(7, n_bytes, global_random_seed + 1)
    removed = np.random.RandomState(global_random_seed).rand(200) < 0.5 if masked else None
    found = DeviceCodes.of(codes, torch.device(device)).neighbors(queries, 20, removed)
    np.testing.assert_array_equal(found, _expected(queries, codes, 20, removed))


def test_only_added_codes_are_copied(device, global_random_seed):
    codes, device = _codes(300, 8, global_random_seed), torch.device(device)
    placed = DeviceCodes.of(codes[:100], device)
    assert DeviceCodes.of(codes[:100], device, placed) is placed
    more = DeviceCodes.of(codes, device, placed)
    assert [block.n for block in more.blocks] == [100, 200]
    assert more.blocks[0] is placed.blocks[0]
    np.testing.assert_array_equal(more.neighbors(codes[:5], 9), _expected(codes[:5], codes, 9))
    for other in (codes[:99], codes[1:], codes[::2], codes.copy()):
        again = DeviceCodes.of(other, device, placed)
        np.testing.assert_array_equal(again.neighbors(codes[:5], 9), _expected(codes[:5], other, 9))


def test_many_additions_become_one_block(device, global_random_seed):
    codes, placed = _codes(2 * _MOST_BLOCKS, 8, global_random_seed), None
    for n in range(1, len(codes) + 1):
        placed = DeviceCodes.of(codes[:n], torch.device(device), placed)
        assert len(placed.blocks) <= _MOST_BLOCKS
    np.testing.assert_array_equal(placed.neighbors(codes[:2], 5), _expected(codes[:2], codes, 5))


def test_an_index_searches_on_its_device(on_device, global_random_seed):
    pytest.importorskip("faiss", reason="faiss is not installed")
    codes = _codes(300, 8, global_random_seed)
    model = HammingNeighbors(6, packed=True).fit(codes[:200])
    queries = _codes(9, 8, global_random_seed + 1)
    np.testing.assert_array_equal(model.kneighbors(queries), _expected(queries, codes[:200], 6))
    model.partial_fit(codes[200:])
    np.testing.assert_array_equal(model.kneighbors(queries), _expected(queries, codes, 6))
    model.remove(np.arange(0, 300, 3))
    removed = np.arange(300) % 3 == 0
    np.testing.assert_array_equal(model.kneighbors(queries), _expected(queries, codes, 6, removed))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).kneighbors(queries), model.kneighbors(queries))
    distances, rows = model.kneighbors()
    assert (rows != model.ids_[:, None]).all()
    assert (distances > 0).all()


def test_a_fit_to_changed_codes_in_the_same_memory(on_device, global_random_seed):
    pytest.importorskip("faiss", reason="faiss is not installed")
    codes = _codes(50, 8, global_random_seed)
    model = HammingNeighbors(3, packed=True).fit(codes)
    model.kneighbors(codes[:2])
    codes[:] = _codes(50, 8, global_random_seed + 1)
    np.testing.assert_array_equal(model.fit(codes).kneighbors(codes[:4]), _expected(codes[:4], codes, 3))


def test_approximate_indexes_use_the_device_for_exact_searches(on_device, global_random_seed):
    pytest.importorskip("faiss", reason="faiss is not installed")
    codes = _codes(300, 8, global_random_seed)
    model = HammingNeighbors(5, packed=True, index="ivf", n_lists=4, random_state=0).fit(codes)
    assert not hasattr(model, "_placed") or model._placed is None
    assert model.estimate_recall(codes[:20]) > 0.5
    assert isinstance(model._placed, DeviceCodes)


def test_a_device_that_is_not_there():
    pytest.importorskip("faiss", reason="faiss is not installed")
    with pytest.raises(ValueError, match="device='nonsense' is not the name of a device"):
        HammingNeighbors(device="nonsense").fit(np.eye(4))
