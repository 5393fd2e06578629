"""Batches of bags: each bag occurs once, with a sample of its descriptors."""

import numpy as np
import pytest
import torch

from sklinvariant.accumulate import Blocks
from sklinvariant.networks import Bags
from sklinvariant.training._batches import BagBatches, RowBatches


@pytest.mark.parametrize("some", [5, 0.3])
def test_batches_take_each_bag_once(ragged, some):
    offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in ragged])])
    bags = Bags(torch.as_tensor(np.concatenate(ragged)), offsets)
    target = torch.arange(len(ragged))
    batches = BagBatches(
        bags, target, torch.ones(len(ragged)), batch_size=4, generator=torch.Generator(), descriptors_per_sample=some
    )
    seen = []
    for batch, _ in batches:
        for i, label in enumerate(batch.target.tolist()):
            rows = batch.bags.values[batch.bags.offsets[i] : batch.bags.offsets[i + 1]].numpy()
            m = len(ragged[label])
            assert len(rows) == (min(5, m) if some == 5 else -(-3 * m // 10))
            assert len(np.unique(rows, axis=0)) == len(rows)
            assert all((ragged[label] == row).all(1).any() for row in rows)
            seen.append(label)
    assert sorted(seen) == list(range(len(ragged)))


def test_rows_of_blocks_are_converted_batch_by_batch():
    rows = torch.arange(10)[:, None].float()
    of_tensor, of_blocks = (
        RowBatches(X, batch_size=4, generator=torch.Generator().manual_seed(0))
        for X in (2 * rows, Blocks(rows.numpy()).map(lambda x: 2 * x))
    )
    assert len(of_blocks) == len(of_tensor) == 10
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(of_tensor, of_blocks, strict=True))
