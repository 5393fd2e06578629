"""Exact neighbours of tensors: against scikit-learn, in blocks, on a GPU."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from sklinvariant.pairs import _tensor_search, nearest_partners
from sklinvariant.pairs._tensor_search import search_tensors


def distances(rows, found):
    return torch.linalg.vector_norm(rows[:, None] - rows[found], dim=2)


@pytest.mark.parametrize(("height", "held"), [(4096, 1 << 26), (7, 7), (16, 100), (10, 410)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_are_those_of_scikit_learn(monkeypatch, dtype, height, held):
    """Blocks of any height and width, also narrower than the number of neighbours."""
    monkeypatch.setattr(_tensor_search, "_ROWS", height)
    monkeypatch.setattr(_tensor_search, "_DISTANCES", held)
    rows = torch.tensor(np.random.RandomState(0).normal(size=(41, 5)), dtype=dtype)
    found = search_tensors(rows, 6)
    assert not (found == torch.arange(41)[:, None]).any()
    assert all(len(set(row)) == 6 for row in found.tolist())
    expected = NearestNeighbors(n_neighbors=6).fit(rows.numpy()).kneighbors()[0]
    np.testing.assert_allclose(distances(rows, found), expected, rtol=1e-4)


def test_all_other_rows_and_equal_rows():
    rows = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    assert search_tensors(rows, 3).sort(1).values.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert (search_tensors(rows, 1)[:3] < 3).all()
    assert search_tensors(rows[:2], 1).tolist() == [[1], [0]]


def test_the_table_of_distances_is_never_whole(monkeypatch):
    """The widest block that is multiplied has as many distances as are held at a time."""
    monkeypatch.setattr(_tensor_search, "_ROWS", 20)
    monkeypatch.setattr(_tensor_search, "_DISTANCES", 600)
    sizes = []

    def watched(bias, part, others, **kwargs):
        sizes.append(len(part) * others.shape[1])
        return multiply(bias, part, others, **kwargs)

    multiply = torch.addmm
    monkeypatch.setattr(torch, "addmm", watched)
    search_tensors(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), 4)
    assert max(sizes) == 600


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_finds_the_neighbours_of_a_cpu():
    rows = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))
    auxiliary = torch.arange(3000) % 5 == 0
    found = nearest_partners(rows.cuda(), 5, auxiliary.cuda())
    assert found.is_cuda
    expected = nearest_partners(rows, 5, auxiliary)
    np.testing.assert_allclose(distances(rows, found.cpu()), distances(rows, expected), rtol=1e-3)
    assert not auxiliary[found.cpu()[~auxiliary]].any()
