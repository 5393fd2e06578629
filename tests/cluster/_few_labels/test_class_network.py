"""A trunk with a linear model of classes: its loss, what it keeps of the trunk, going out and coming back."""

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch.nn.functional import cross_entropy

from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.cluster._few_labels._class_network import ClassNetwork
from sklinvariant.cluster._few_labels._labelled_batches import LabelledBatch
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.networks import LinearLoss


def _trunk(seed=0):
    scaling, generator = Scaling(torch.tensor([1.0, 2.0, 3.0]), torch.tensor(2.0)), torch.Generator().manual_seed(seed)
    return ClusterNetwork.build("mlp", (3,), 2, 4, None, generator=generator, scaling=scaling)


@pytest.fixture
def network(global_random_seed):
    generator = torch.Generator().manual_seed(global_random_seed)
    network = ClassNetwork(_trunk(global_random_seed), LinearLoss(256, 3, "log_loss", 0.1, torch.float32, gain=0.5))
    with torch.no_grad():
        network.head.weight.copy_(torch.randn(3, 256, generator=generator))
        network.trunk.trunk(torch.randn(50, 3, generator=generator))  # batch normalisation sees something
    batch = LabelledBatch(torch.randn(5, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1]), torch.arange(5.0))
    return network, batch


def test_loss(network):
    network, batch = network
    scores = (
        network.trunk.trunk.eval()((batch.samples - torch.tensor([1.0, 2.0, 3.0])) / 2) * 0.5 @ network.head.weight.T
    )
    losses = [
        cross_entropy(row[None], target[None]).item() for row, target in zip(scores.detach(), batch.target, strict=True)
    ]
    expected = np.mean(np.arange(5) * losses) + 0.05 * network.head.weight.square().sum().item()
    assert network(batch).item() == pytest.approx(expected, rel=1e-5)


def test_batch_normalisation_keeps_what_the_trunk_learned(network):
    network, batch = network
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()
    loss = network(batch)
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert_close(network.eval()(batch), loss)
    assert all(parameter.grad is not None for parameter in network.parameters())  # no head of clusters is left


def test_there_and_back(network):
    network, batch = network
    state = network.export()
    again = ClassNetwork.restore(_trunk(99), state, 0.1)
    assert_close(again(batch), network.eval()(batch))
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    assert all(np.abs(value).max() > 0 for name, value in state["trunk"].items() if name.endswith("weight"))  # a copy


def test_appended_rows_there_and_back(network):
    network, batch = network
    features = network.eval().features(batch.samples)
    network.append_rows(batch.samples)
    appended = network.features(batch.samples)
    assert_close(appended[:, :256], features)
    assert_close(appended[:, 256:], network.row_gain * (batch.samples - torch.tensor([1.0, 2.0, 3.0])) / 2)
    network.head = LinearLoss(259, 3, "log_loss", 0.1, torch.float32, gain=0.5)
    again = ClassNetwork.restore(_trunk(99), network.export(), 0.1)
    assert_close(again.features(batch.samples), appended)
