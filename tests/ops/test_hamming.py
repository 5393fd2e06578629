"""The nearest codes by torch, against all distances; planes of bits."""

import numpy as np
import pytest
import torch

from sklinvariant.ops import _hamming, bit_planes, nearest_codes


@pytest.mark.parametrize("n_bytes", [1, 4, 8, 13])
@pytest.mark.parametrize("rows", [None, 7])
def test_planes_hold_the_codes(n_bytes, rows, monkeypatch, global_random_seed):
    if rows:
        monkeypatch.setattr(_hamming, "DEVICE_BYTES", 4 * rows * -(-n_bytes // 4))
    codes = np.random.RandomState(global_random_seed).randint(256, size=(30, n_bytes)).astype(np.uint8)
    planes = bit_planes(codes, "cpu")
    assert planes.n == 30
    assert planes.words.shape[1] >= 30 + _hamming.SPARE
    read = planes.words[:, :30].numpy().T.copy().view(np.uint8)
    np.testing.assert_array_equal(read[:, :n_bytes], codes)
    assert not read[:, n_bytes:].any()


@pytest.mark.parametrize("device_bytes", [1 << 20, 3 * 32 * 7])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_neighbors(k, device_bytes, monkeypatch, global_random_seed):
    monkeypatch.setattr(_hamming, "DEVICE_BYTES", device_bytes)
    rng = np.random.RandomState(global_random_seed)
    codes, queries = (rng.randint(2, size=(n, 64)).astype(np.uint8) for n in (60, 3))
    codes[30:] = codes[:30]  # equal codes have equal distances
    every = (queries[:, None] != codes).sum(-1)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    packed, asked = (np.packbits(bits, axis=1) for bits in (codes, queries))
    blocks = [bit_planes(packed[:25], "cpu"), bit_planes(packed[25:], "cpu")]
    distances, rows = nearest_codes(blocks, bit_planes(asked, "cpu"), k)
    np.testing.assert_array_equal(rows.numpy(), order)
    np.testing.assert_array_equal(distances.numpy(), np.take_along_axis(every, order, 1))


def test_bits_are_counted():
    words = torch.tensor([0, -1, 1, -(2**31), 2**31 - 1, 0x0F0F0F0F, -559038737], dtype=torch.int32)
    expected = [(word & 0xFFFFFFFF).bit_count() for word in words.tolist()]
    assert _hamming._count_bits(words).tolist() == expected
