"""Pooling and pose against loops over the group, and the equivariance of the whole network."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.autoencoder._equivariant_network import (
    EquivariantAutoencoderNetwork,
    align,
    count_features,
    gram_pool,
    place,
)
from sklinvariant.metrics import equivariance_error
from sklinvariant.networks import Group


def _embedding(order, seed, n=3, k=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, order, generator=generator), torch.randn(n, order, generator=generator).softmax(1)


def _network(group, pooling, shape=(2, 7, 7)):
    generator = torch.Generator().manual_seed(0)
    return EquivariantAutoencoderNetwork(shape, group, pooling, 3, 4, 2, generator).eval()


@pytest.mark.parametrize("name", ["C4", "D4", "C8"])
def test_poolings_by_loops(name, global_random_seed):
    group = Group(name)
    E, p = _embedding(group.order, global_random_seed)
    n, k, order = E.shape
    aligned, placed = np.zeros((n, k, order)), np.zeros((n, k, order))
    for g in range(order):
        for u in range(order):
            product = int(group.products[g, u])
            aligned[:, :, u] += (p[:, g, None] * E[:, :, product]).numpy()
            placed[:, :, product] += (p[:, g, None] * E[:, :, u]).numpy()
    assert_close(align(E, p, group), aligned)
    assert_close(place(E, p, group), placed)
    matrices = np.stack([row @ row.T / order for row in E.numpy()])
    gram = gram_pool(E)
    assert gram.shape == (n, count_features("gram", k, order)) == (n, 10)
    for i in range(n):  # distances are those of the matrices
        difference = np.linalg.norm(matrices[i] - matrices[0])
        assert torch.linalg.vector_norm(gram[i] - gram[0]).item() == pytest.approx(difference, rel=1e-4, abs=1e-5)
    assert_close(gram[:, 0], matrices[:, 0, 0])


@pytest.mark.parametrize("name", ["C4", "D4", "C8"])
def test_a_sure_pose_loses_nothing(name):
    group = Group(name)
    E, _ = _embedding(group.order, 0, n=group.order)
    pose = torch.eye(group.order)
    assert_close(place(align(E, pose, group), pose, group), E)


@pytest.mark.parametrize("name", ["C4", "D4", "C8"])
def test_pooled_embeddings_do_not_change(name, global_random_seed):
    group = Group(name)
    E, p = _embedding(group.order, global_random_seed)
    for g in range(group.order):
        moved = group.act_on_embedding(E, g), group.act_on_embedding(p[:, None], g)[:, 0]
        assert_close(align(*moved, group), align(E, p, group))
        assert_close(gram_pool(moved[0]), gram_pool(E))
        assert_close(place(E, moved[1], group), group.act_on_embedding(place(E, p, group), g))


@pytest.mark.parametrize("name", ["C4", "D4", "D2"])
@pytest.mark.parametrize("pooling", ["gram", "attention", "mean", None])
@pytest.mark.parametrize("size", [7, 8])
def test_the_network_commutes(name, pooling, size):
    network = _network(name, pooling, (2, size, size))
    images = torch.randn(3, size, size, 2, generator=torch.Generator().manual_seed(1))
    assert equivariance_error(lambda x: network.encode(x)[0], name, images) < 2e-5
    assert equivariance_error(lambda x: network.encode(x)[1][:, None], name, images) < 2e-5
    assert equivariance_error(network, name, images, output="image") < 5e-5
    features = equivariance_error(lambda x: network.features(*network.encode(x)), name, images, output="invariant")
    assert features < 5e-5 or pooling is None
    embedding, pose = network.encode(images.permute(0, 3, 1, 2))
    assert network.features(embedding, pose).shape == (3, count_features(pooling, *embedding.shape[1:]))


@pytest.mark.parametrize("name", ["C4", "D4"])
@pytest.mark.parametrize("pooling", ["gram", "attention", "mean"])
def test_another_pose_is_called_canonical(name, pooling):
    network, group = _network(name, pooling), Group(name)
    x = torch.randn(5, 2, 7, 7, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        rebuilt, (_, before) = network(x), network.encode(x)
        for h in (1, group.order - 1):
            network.recentre(h)
            _, after = network.encode(x)
            assert_close(after, before[:, group.products[:, h]])
            assert_close(network(x), rebuilt)
            before = after


def test_trivial_group_is_an_ordinary_autoencoder():
    network = _network("trivial", "attention", (1, 4, 6))
    embedding, pose = network.encode(torch.rand(2, 1, 4, 6))
    assert_close(pose, torch.ones(2, 1))
    assert_close(network.features(embedding, pose), embedding[:, :, 0])
    assert network(torch.rand(2, 1, 4, 6)).shape == (2, 1, 4, 6)


@pytest.mark.parametrize("pooling", ["gram", "attention"])
def test_export(pooling):
    network = _network("C4", pooling)
    x = torch.randn(2, 2, 7, 7)
    assert_close(torch.export.export(network, (x,)).module()(x), network(x))
