"""Batches of pairs of frames."""

import pytest
import torch

from sklinvariant.pooling._pair_batches import FramePairBatches

EXPECTED = [True, False, False, True, True]


def test_batches_take_each_pair_once():
    rows = torch.arange(6.0)[:, None] * torch.tensor([1.0, 10.0])
    batches = FramePairBatches(
        rows,
        torch.tensor(EXPECTED),
        batch_size=2,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(0),
    )
    assert len(batches) == 3
    seen = [[batch for batch, _ in batches] for _ in range(2)]
    assert [len(batch) for batch in seen[0]] == [2, 1]
    for batch in map(torch.cat, seen):
        order = batch[:, 0, 0].argsort()
        expected = torch.tensor([[0.0, 1], [3, 4], [4, 5]])
        torch.testing.assert_close(batches.unit * batch[order, :, 0], expected)
        assert float(batch.square().sum()) / 3 == pytest.approx(1)  # its unit
        torch.testing.assert_close(batch[..., 1], 10 * batch[..., 0])
