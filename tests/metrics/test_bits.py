"""Statistics of bits against plain numpy."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.metrics import _bits, bit_activations, bit_correlation, bit_entropy, code_entropy


@pytest.fixture(params=[3, 1 << 14])
def codes(request, monkeypatch, global_random_seed):
    """100 codes of 16 bits with increasing frequencies, read in blocks of 3 codes and at once."""
    monkeypatch.setattr(_bits, "_ROWS", request.param)
    return (np.random.RandomState(global_random_seed).rand(100, 16) < np.linspace(0.1, 0.9, 16)).astype(np.uint8)


def entropy(p):
    return -sum(q * np.log2(q) for q in (p, 1 - p) if q > 0)


def test_statistics_are_plain_numpy(codes):
    np.testing.assert_allclose(bit_activations(codes), codes.mean(0))
    np.testing.assert_allclose(bit_entropy(codes), [entropy(p) for p in codes.mean(0)])
    np.testing.assert_allclose(code_entropy(codes), [entropy(p) for p in codes.mean(1)], atol=1e-12)
    np.testing.assert_allclose(bit_correlation(codes), np.corrcoef(codes.T), atol=1e-12)


@pytest.mark.parametrize("statistic", [bit_activations, bit_entropy, code_entropy, bit_correlation])
def test_kinds_of_codes(statistic, codes):
    expected = statistic(codes)
    for same in (codes.astype(bool), codes.astype(np.float32), codes.tolist(), torch.as_tensor(codes)):
        assert_close(statistic(same), expected)
    assert_close(statistic(np.packbits(codes, axis=1), packed=True), expected)


def test_probabilities(codes):
    p = codes * 0.5 + 0.25
    np.testing.assert_allclose(bit_activations(p), p.mean(0))
    np.testing.assert_allclose(bit_correlation(p), np.corrcoef(codes.T), atol=1e-12)


def test_bits_that_never_change():
    codes = np.array([[0, 1, 0], [0, 1, 1]])
    assert_close(bit_entropy(codes), [0, 0, 1])
    correlation = bit_correlation(codes)
    assert np.isnan(correlation[:2]).all()
    assert correlation[2, 2] == pytest.approx(1)


def test_bad_codes():
    with pytest.raises(ValueError, match="codes has values from 0 to 255"):
        bit_activations(np.array([[0, 255]], dtype=np.uint8))
    with pytest.raises(ValueError, match="between 0 and 1"):
        bit_activations([[-1, 1]])
    with pytest.raises(ValueError, match="codes has dtype int64"):
        bit_activations([[0, 1]], packed=True)
    with pytest.raises(ValueError, match="NaN"):
        bit_entropy([[0, np.nan]])
