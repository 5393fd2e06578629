"""Linear heads, all in one layer."""

import torch

from sklinvariant.cluster._heads import SubHeads


def test_heads_are_linear_layers_of_their_own():
    heads = SubHeads(5, 3, 4, torch.Generator().manual_seed(0))
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    probabilities = heads(x)
    assert probabilities.shape == (7, 4, 3)
    for h in range(4):
        rows = slice(3 * h, 3 * h + 3)
        scores = x @ heads.linear.weight[rows].T + heads.linear.bias[rows]
        torch.testing.assert_close(heads.scores(x)[:, h], scores)
        torch.testing.assert_close(probabilities[:, h], scores.softmax(1))
    assert len({row.numpy().tobytes() for row in heads.linear.weight.detach()}) == 12  # they differ
