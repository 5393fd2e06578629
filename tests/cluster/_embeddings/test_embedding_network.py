"""The feature spaces of the clusterers of embeddings."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize
from tolerance import assert_close

from sklinvariant.cluster._embeddings._embedding_network import EmbeddingNetwork, Space
from sklinvariant.cluster._scaling import Scaling


def space_of(rows, whitening, columns=None):
    columns = torch.arange(rows.shape[1]) if columns is None else torch.as_tensor(columns)
    return Space.of(rows, columns, Scaling.of(rows[:, columns], None), whitening)


@pytest.fixture
def rows(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return torch.tensor(rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)) + 5)


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_the_cosines_are_those_of_partly_whitened_components(rows, whitening):
    pca = PCA(svd_solver="full").fit(rows.numpy())
    expected = normalize(pca.transform(rows.numpy()) / pca.explained_variance_ ** (whitening / 2))
    features = space_of(rows, whitening)(rows).numpy()
    assert_close(features @ features.T / 12, expected @ expected.T, atol=1e-9)


def test_rows_of_few_coordinates_keep_their_lengths(rows):
    features = space_of(rows, 0.5, [1, 3, 4])(rows)
    part = rows[:, [1, 3, 4]]
    distances, expected = (torch.pdist(values) for values in (features, part))
    assert_close(distances / distances.mean(), expected / expected.mean())
    assert_close(features.square().mean(), 1.0)


def test_axes_without_variance_are_left_out(rows):
    doubled = torch.cat([rows, rows, torch.ones(200, 3, dtype=rows.dtype)], 1)
    assert space_of(doubled, 1.0).axes.shape == (27, 12)
    constant = torch.ones(20, 4)
    assert torch.isfinite(space_of(constant, 0.5)(constant)).all()


def test_spaces_are_restored_from_the_weights_of_a_network(rows):
    spaces = [space_of(rows, 0.5, [number]) for number in range(11)]
    network = EmbeddingNetwork(spaces, 2)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    restored = EmbeddingNetwork(EmbeddingNetwork.restored_spaces(weights), 2)
    assert restored.sizes == [1] * 11
    assert torch.equal(restored.features(rows), network.features(rows))


def test_losses_are_running_means():
    network = EmbeddingNetwork([], 2)
    for _ in range(200):
        network.note(torch.tensor([1.0, 3.0]))
    assert_close(network.losses, [1.0, 3.0], rtol=1e-3)
