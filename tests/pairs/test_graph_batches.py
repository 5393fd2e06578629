"""Batches of samples, and which of them are neighbours."""

import numpy as np
import torch
from scipy import sparse

from sklinvariant.pairs import GraphBatches, GraphPairs, NeighborBatch, read_graph


def batches_of(edges, n, batch_size):
    graph = read_graph(sparse.coo_array((np.ones(len(edges)), np.transpose(edges)), shape=(n, n)), n)
    source = GraphPairs(torch.arange(float(n))[:, None], graph, torch.Generator().manual_seed(0))
    return GraphBatches(source, batch_size=batch_size)


def test_each_sample_comes_with_a_neighbour():
    """A circle of 7 samples, and a sample without neighbours."""
    edges = [(i, (i + 1) % 7) for i in range(7)]
    batches = batches_of(edges, 8, 3)
    assert len(batches) == 7
    assert batches.n_steps == 3
    seen = set()
    for batch, _ in batches:
        numbers = batch.samples[:, 0].int().tolist()
        assert len(set(numbers)) == len(batch) <= 6
        expected = [[(a, b) in edges for b in numbers] for a in numbers]
        np.testing.assert_array_equal(batch.near, expected)
        seen |= {a for a, near in zip(numbers, expected, strict=True) if any(near)}
    assert seen == set(range(7))


def test_passes_draw_other_neighbours():
    batches = batches_of([(0, i) for i in range(1, 9)], 9, 4)
    drawn = {tuple(batch.samples[:, 0].int().tolist()) for _ in range(40) for batch, _ in batches}
    assert drawn == {(0, i) for i in range(1, 9)}


def test_a_share_has_neighbours_in_the_whole_batch():
    batch = NeighborBatch(torch.arange(4.0), torch.eye(4, dtype=torch.bool).roll(1, 1))
    share = batch[2:]
    assert len(share) == 2
    assert share.near.tolist() == [[False, False, False, True], [True, False, False, False]]
