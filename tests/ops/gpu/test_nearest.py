"""Kernels of nearest codewords and sums by label against the torch reference."""

import itertools

import numpy as np
import pytest
import torch
from tolerance import assert_close, assert_same_labels

from sklinvariant._precision import computing_in
from sklinvariant.ops import nearest_codewords, sum_by_codeword, sum_by_label

SHAPES = [(1, 2, 1), (300, 70, 24), (129, 5, 3), (64, 64, 128), (70, 33, 513), (65, 130, 1)]


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_nearest_codewords(kernels, n, k, d, offset):
    x, codebook = normal(n, d) + offset, normal(k, d, seed=1) + offset
    labels, distances = nearest_codewords(x.to(kernels), codebook.to(kernels), return_distance=True)
    exact = torch.cdist(x.double(), codebook.double()).square()
    assert labels.dtype == torch.int64
    assert_close(exact.gather(1, labels.cpu()[:, None])[:, 0], exact.min(1).values, rtol=1e-5)
    assert_close(distances, exact.min(1).values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nearest_codewords_of_half_precision(kernels, dtype):
    x, codebook = normal(200, 24, dtype=dtype), normal(9, 24, seed=1)
    labels = nearest_codewords(x.to(kernels), codebook.to(kernels))
    exact = -torch.cdist(x.double(), codebook.double()).square()
    assert_same_labels(labels.cpu(), exact.argmax(1), exact, margin=2e-2)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_nearest_codewords_in_lower_precision(kernels, precision):
    x, codebook = normal(200, 24), normal(9, 24, seed=1)
    exact = -torch.cdist(x.double(), codebook.double()).square()
    with computing_in(precision):
        labels = nearest_codewords(x.to(kernels), codebook.to(kernels))
    assert_same_labels(labels, exact.argmax(1), exact, margin=2e-2)


@pytest.mark.parametrize("k", [2, 70, 300])
def test_ties_go_to_the_lower_index(kernels, k):
    codebook = torch.zeros(k, 2)
    codebook[k // 2 :] = 1.0
    x = torch.tensor([[0.0, 0.0], [2.0, 2.0], [0.5, 0.5]])
    assert nearest_codewords(x.to(kernels), codebook.to(kernels)).tolist() == [0, k // 2, 0]


def test_no_rows(kernels):
    x, codebook = torch.empty(0, 3, device=kernels), normal(4, 3).to(kernels)
    labels, distances = nearest_codewords(x, codebook, return_distance=True)
    assert labels.shape == distances.shape == (0,)
    assert sum_by_label(x, labels, 4).tolist() == [[0.0] * 3] * 4


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_sum_by_label(kernels, n, k, d, weighted):
    x, labels = normal(n, d), torch.randint(k, (n,), generator=torch.Generator().manual_seed(2))
    weights = normal(n, seed=3).abs() if weighted else None
    sums = sum_by_label(x.to(kernels), labels.to(kernels), k, None if weights is None else weights.to(kernels))
    rows = x.double() if weights is None else x.double() * weights.double()[:, None]
    assert_close(sums, torch.zeros(k, d, dtype=torch.float64).index_add_(0, labels, rows))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_sum_by_codeword(kernels, count_launches, offset):
    x, labels = normal(90, 5) + offset, torch.randint(4, (90,), generator=torch.Generator().manual_seed(2))
    offsets, shift, scale = np.array([0, 30, 30, 31, 90]), torch.full((5,), offset), torch.tensor(2.0)
    here = [part.to(kernels) for part in (x, labels)]
    sums = sum_by_codeword(*here, offsets, 4, here[0], shift.to(kernels), scale.to(kernels))
    rows = (x.double() - offset) / 2
    for bag, (first, last) in enumerate(itertools.pairwise(offsets)):
        expected = torch.zeros(4, 5, dtype=torch.float64).index_add_(0, labels[first:last], rows[first:last])
        assert_close(sums[bag], expected, atol=1e-4)
    assert count_launches == ["_sum_kernel"]


def test_sum_of_weights_by_label(kernels, count_launches):
    weights, labels = normal(50), torch.arange(50) % 3
    sums = sum_by_label(weights.to(kernels), labels.to(kernels), 3)
    assert_close(sums, torch.stack([weights[i::3].double().sum() for i in range(3)]))
    assert count_launches == ["_sum_kernel"]


def test_sum_by_label_refuses_other_labels(kernels):
    x, labels = normal(3, 2).to(kernels), torch.tensor([0, 3, 1]).to(kernels)
    with pytest.raises(IndexError, match="labels must be from 0 to k - 1 = 2, but they are from 0 to 3"):
        sum_by_label(x, labels, 3)


def test_long_labels_are_summed_in_parts(kernels):
    x, labels = normal(5000, 4), torch.zeros(5000, dtype=torch.int64)
    sums = sum_by_label(x.to(kernels), labels.to(kernels), 2)
    assert_close(sums[0], x.double().sum(0))
    assert sums[1].tolist() == [0.0] * 4


def test_weights_of_one_number(kernels):
    """Weights that are all 1 are one number in memory, with stride 0."""
    x, labels = normal(50, 3), torch.arange(50) % 2
    weights = torch.ones(1, device=kernels).expand(50)
    sums = sum_by_label(x.to(kernels), labels.to(kernels), 2, weights)
    assert_close(sums, torch.stack([x[::2].sum(0), x[1::2].sum(0)]))


def test_the_kernels_are_launched(kernels, count_launches):
    x = normal(10, 3).to(kernels)
    sum_by_label(x, nearest_codewords(x, x[:2].clone()), 2)
    assert count_launches == ["_nearest_kernel", "_sum_kernel"]
