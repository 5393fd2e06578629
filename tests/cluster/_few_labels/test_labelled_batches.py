"""Batches of labelled samples: each sample once in an epoch, with its label, in a new order and transformed."""

import torch

from sklinvariant.cluster._few_labels._labelled_batches import LabelledBatch, LabelledBatches


def test_every_sample_is_in_one_batch_of_an_epoch():
    everything = LabelledBatch(torch.arange(7.0)[:, None], torch.arange(7), torch.arange(7.0))
    batches = LabelledBatches(everything, lambda x, _: -x, batch_size=3, generator=torch.Generator().manual_seed(0))
    walks = [[batch for batch, _ in batches] for _ in range(2)]
    for walk in walks:
        assert [len(batch) for batch in walk] == [3, 2, 2]
        assert len(walk) == batches.n_steps
        target = torch.cat([batch.target for batch in walk])
        assert sorted(target.tolist()) == list(range(7))
        torch.testing.assert_close(torch.cat([batch.samples for batch in walk])[:, 0], -target.float())
        torch.testing.assert_close(torch.cat([batch.weight for batch in walk]), target.float())
    assert walks[0][0].target.tolist() != walks[1][0].target.tolist()
