"""Codes of any kind as packed bytes."""

import numpy as np
import pytest

from sklinvariant.neighbors import _code_reader
from sklinvariant.neighbors._code_reader import pack_bits


@pytest.mark.parametrize("width", [8, 11])
def test_bits_are_packed_in_numpys_order(width, global_random_seed, monkeypatch):
    monkeypatch.setattr(_code_reader, "_ROWS", 7)
    X = np.random.RandomState(global_random_seed).rand(20, width)
    np.testing.assert_array_equal(pack_bits(X, 0.3), np.packbits(X > 0.3, axis=1))
