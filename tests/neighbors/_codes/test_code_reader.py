"""Codes of any kind as packed bytes."""

import numpy as np
import pytest

from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.neighbors._codes import _code_reader
from sklinvariant.neighbors._codes._code_reader import pack_bits, refuse_unpacked


@pytest.mark.parametrize("width", [8, 11])
def test_bits_are_packed_in_numpys_order(width, global_random_seed, monkeypatch):
    monkeypatch.setattr(_code_reader, "_ROWS", 7)
    X = np.random.RandomState(global_random_seed).rand(20, width)
    np.testing.assert_array_equal(pack_bits(X, 0.3), np.packbits(X > 0.3, axis=1))


@pytest.mark.parametrize("method", ["partial_fit", "kneighbors"])
def test_only_fit_reads_an_iterable(method):
    pytest.importorskip("faiss")
    model = HammingNeighbors(1, packed=True).fit(np.eye(4, 8, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"X is an iterable, a list_iterator, but .* needs codes.*one by one"):
        getattr(model, method)(iter([model.codes_]))


@pytest.mark.parametrize("first", [0, 5])
def test_unpacked_bits_are_not_packed_codes(first, global_random_seed, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(_code_reader, "_ROWS", 3)
    bits = np.random.RandomState(global_random_seed).randint(2, size=(50, 64)).astype(np.uint8)
    bits[:first] = 0
    message = r"X contains only bytes 0 and 1, in rows of 64.*numpy.packbits\(X, axis=1\).* or set packed=False"
    with pytest.raises(ValueError, match=message):
        HammingNeighbors(packed=True).fit(bits)
    with pytest.raises(ValueError, match=message):
        HammingNeighbors(packed=True).fit(iter([bits]))
    HammingNeighbors(packed=True).fit(np.packbits(bits, axis=1))


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((5, 32)),  # of a hasher whose bits are constant
        np.eye(7, 32),  # fewer than 8 bytes
        np.ones((50, 7)),
        np.concatenate([np.ones((50, 32)), np.full((1, 32), 2)]),
    ],
    ids=["zeros", "few", "short", "late"],
)
def test_packed_codes_of_small_bytes_are_accepted(codes, monkeypatch):
    monkeypatch.setattr(_code_reader, "_ROWS", 3)
    refuse_unpacked("X", codes.astype(np.uint8))
