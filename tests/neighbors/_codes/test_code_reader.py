"""Codes of any kind as packed bytes."""

import numpy as np
import pytest

from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.neighbors._codes import _code_reader
from sklinvariant.neighbors._codes._code_reader import pack_bits


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
