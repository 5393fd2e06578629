"""The loss of a batch of pairs against a loop over pairs and heads, and what standardises and seeds a trunk."""

import math

import pytest
import torch

from sklinvariant.cluster._cluster_network import ClusterNetwork, max_entropy
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.pairs import ClusterBatch


def _network(trunk="mlp", shape=(5,), seed=0, **settings):
    given = {"scaling": Scaling(torch.full((5,), 2.0), torch.full((5,), 3.0))} | settings
    return ClusterNetwork.build(trunk, shape, 2, 3, 4, generator=torch.Generator().manual_seed(seed), **given)


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("weight", [1.0, 1.5])
def test_the_loss_is_a_loop_over_pairs(auxiliary, weight):
    network = _network(entropy_weight=weight).eval()
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(6, 5, generator=generator), torch.randn(12, 5, generator=generator)
    loss = network(ClusterBatch(first, second, auxiliary))
    heads, k = (network.auxiliary, 4) if auxiliary else (network.heads, 3)
    losses = []
    for h in range(2):
        joint = torch.zeros(k, k, dtype=torch.float64)
        for i in range(12):  # two partners of each sample
            one, two = (heads(network.features(x[None]))[0, h].double() for x in (first[i % 6], second[i]))
            joint += one[:, None] * two
        joint = (joint + joint.T) / joint.sum() / 2
        margin = joint.sum(0)
        entropy = -(margin * margin.log()).sum()
        information = (joint * joint.log()).sum() + 2 * weight * entropy
        losses.append(-information / math.log(k))
    torch.testing.assert_close(loss.double(), torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)


def test_samples_are_standardised():
    network = _network().eval()
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network.features(x), network.trunk((x - 2) / 3))


def test_images_are_seen_with_channels_first():
    network = _network(shape=(12, 13, 2), scaling=Scaling(torch.zeros(2), torch.ones(()))).eval()
    x = torch.rand(3, 12, 13, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network.features(x), network.trunk(x.permute(0, 3, 1, 2)))


def test_a_trunk_of_the_user_is_copied_and_draws_from_the_generator():
    trunk = torch.nn.Sequential(torch.nn.Linear(5, 6, dtype=torch.float32), torch.nn.Dropout(0.5))
    before, state = trunk[0].weight.clone(), torch.get_rng_state()
    x = torch.ones(4, 5)
    first, again, other = (_network(trunk, seed=seed).features(x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    network = _network(trunk)
    network.trunk[0][0].weight.data.zero_()
    assert torch.equal(trunk[0].weight, before)


def test_the_largest_information():
    assert max_entropy(8) == pytest.approx(math.log(8))
    assert max_entropy(1) == pytest.approx(math.log(2))
