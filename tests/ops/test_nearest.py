"""Nearest codewords against scikit-learn: ties, scales, dtypes."""

import pytest
import torch
from examples import blobs
from tolerance import assert_same_labels

from sklinvariant.ops import nearest_codewords


@pytest.mark.parametrize("chunk_size", [1, 50, None])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_nearest_codewords(chunk_size, offset):
    x, codebook = blobs() + offset, blobs(1, 20) + offset
    labels, distances = nearest_codewords(x, codebook, return_distance=True, chunk_size=chunk_size)
    expected = torch.cdist(x - offset, codebook - offset).square()
    assert_same_labels(labels, expected.argmin(1), -expected, margin=1e-5)
    torch.testing.assert_close(distances, expected.min(1).values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-36, 1e-12, 1.0, 1e12, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0, 1e4])
def test_nearest_codewords_at_any_scale_and_offset(dtype, scale, offset):
    """Rounding may select a codeword that is not quite nearest. An offset of the data must not increase this error."""
    x, codebook = (((part + offset) * scale).to(dtype) for part in (blobs(), blobs(1, 20)))
    labels = nearest_codewords(x, codebook)
    far = torch.cdist(x.double() / scale, codebook.double() / scale)
    lost = far.gather(1, labels[:, None])[:, 0] - far.min(1).values
    assert lost.max() <= 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("k", [1, 2, 70, 300])
def test_ties_go_to_the_lower_index(k):
    codebook = torch.zeros(k, 2)
    codebook[k // 2 :] = 1.0
    labels = nearest_codewords(torch.tensor([[0.0, 0.0], [2.0, 2.0], [1.0, 1.0]]), codebook, chunk_size=2)
    assert labels.tolist() == [0, k // 2, k // 2]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.int64])
def test_nearest_codewords_of_any_dtype(dtype):
    x = torch.arange(40).reshape(20, 2).to(dtype)
    codebook = torch.tensor([[3.0, 4.0], [30.0, 30.0], [12.0, 11.0]])
    assert_same_labels(
        nearest_codewords(x, codebook), nearest_codewords(x.float(), codebook), -torch.cdist(x.float(), codebook)
    )
