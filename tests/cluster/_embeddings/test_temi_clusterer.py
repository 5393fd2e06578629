"""TEMIClusterer: its loss against the equations, and its teacher."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from tolerance import assert_close

from sklinvariant import TEMIClusterer
from sklinvariant.cluster._embeddings._embedding_network import Space
from sklinvariant.cluster._embeddings._temi_clusterer import TEMINetwork, pair_weights, pointwise_information
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.pairs import ClusterBatch


def distributions(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).softmax(-1)


def test_pointwise_information_by_loops():
    student, teacher, marginal = distributions(0, 4, 2, 3), distributions(1, 4, 2, 3), distributions(2, 2, 3)
    found = pointwise_information(student, teacher, marginal, 0.6)
    for i in range(4):
        for h in range(2):
            terms = [float(student[i, h, c] * teacher[i, h, c]) ** 0.6 / float(marginal[h, c]) for c in range(3)]
            assert_close(found[i, h], np.log(sum(terms)))


def test_information_of_certain_pairs():
    """With β = 1, pairs in one of k equal clusters have ln k nats; pairs in different clusters have much less."""
    one, other = torch.eye(4)[[0]][:, None], torch.eye(4)[[1]][:, None]
    marginal = torch.full((1, 4), 0.25)
    assert_close(pointwise_information(one, one, marginal, 1.0), [[np.log(4)]], rtol=1e-5)
    assert pointwise_information(one, other, marginal, 1.0) < -10
    assert torch.isfinite(pointwise_information(one, other, marginal, 0.6)).all()


def test_weights_are_the_chance_of_the_same_cluster():
    first, second = distributions(0, 5, 2, 3), distributions(1, 5, 2, 3)
    expected = [[np.mean([float(first[i, h] @ second[i, h]) for h in range(2)])] for i in range(5)]
    assert_close(pair_weights(first, second), expected)


def network(rows, momentum=0.9):
    space = Space.of(rows, torch.arange(rows.shape[1]), Scaling.of(rows, None), 0.5)
    generator = torch.Generator().manual_seed(0)
    made = TEMINetwork([space], 3, 2, beta=0.6, momentum=momentum, temperatures=(0.3, 0.1), generator=generator).to(
        rows
    )
    made.start()
    return made


@pytest.fixture
def batch():
    rows = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ClusterBatch(rows, rows.flip(0))


def test_the_teacher_follows_the_student_without_gradient(batch):
    model = network(batch.first)
    before = model.teacher.linear.weight.clone()
    with torch.no_grad():
        model.heads.linear.weight.add_(1)
    model(batch).backward()
    assert_close(model.teacher.linear.weight, before + 0.1)
    assert model.teacher.linear.weight.grad is None
    assert model.heads.linear.weight.grad is not None


def test_the_loss_does_not_depend_on_the_order_of_a_pair(batch):
    swapped = ClusterBatch(batch.second, batch.first)
    assert_close(network(batch.first)(batch), network(batch.first)(swapped))


def test_the_gradient_of_the_student(batch):
    model = network(batch.first, momentum=1.0)  # a teacher that does not move
    model.marginal.fill_(1 / 3)
    weight = model.heads.linear.weight.detach().clone().requires_grad_()

    def loss(weight):
        model.marginal.fill_(1 / 3)
        return torch.func.functional_call(model, {"heads.linear.weight": weight}, (batch,))

    assert torch.autograd.gradcheck(loss, (weight,))


def test_clusters_of_unequal_size(global_random_seed):
    rng, y = np.random.RandomState(global_random_seed), np.repeat([0, 1, 2], [150, 40, 10])
    X = rng.normal(size=(200, 5)).astype(np.float32) + 6 * np.eye(3, 5, dtype=np.float32)[y]
    model = TEMIClusterer(3, n_neighbors=5, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
