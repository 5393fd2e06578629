"""TURTLEClusterer: its loss against the equations, and the gradients of labeling and classifiers."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from tolerance import assert_close

from sklinvariant import TURTLEClusterer
from sklinvariant.cluster._embeddings._embedding_network import Space
from sklinvariant.cluster._embeddings._turtle_clusterer import SpaceHeads, TURTLENetwork, entropy, labeling_losses
from sklinvariant.cluster._scaling import Scaling


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_by_loops():
    labeling = normal(0, 4, 2, 3).softmax(-1)
    scores = [normal(1, 4, 2, 3), normal(2, 4, 2, 3)]
    marginals = [normal(3, 2, 3).softmax(-1), normal(4, 2, 3).softmax(-1)]
    found = labeling_losses(labeling, scores, marginals, 10.0)
    for h in range(2):
        expected = 0.0
        for score, marginal in zip(scores, marginals, strict=True):
            for i in range(4):
                chances = np.exp(score[i, h].numpy()) / np.exp(score[i, h].numpy()).sum()
                expected -= float((labeling[i, h].numpy() * np.log(chances)).sum()) / 4
            expected += 10 * float((marginal[h].numpy() * np.log(marginal[h].numpy())).sum())
        assert_close(found[h], expected)


def test_entropy_of_certain_and_uniform_distributions():
    assert_close(entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])), [0.0, np.log(2)])


def test_scores_are_logarithms_of_the_mean_probabilities():
    heads = SpaceHeads([3, 2], 4, 2, torch.Generator().manual_seed(0)).double()
    features = normal(0, 6, 5)
    mean = sum(scores.softmax(-1) for scores in heads.of_spaces(features)) / 2
    assert_close(heads.scores(features).softmax(-1), mean)


def test_one_loss_has_the_gradients_of_both_problems():
    """The classifiers learn the labeling as if it were given, and the labeling as if the classifiers were given."""
    rows = normal(0, 30, 4)
    space = Space.of(rows, torch.arange(4), Scaling.of(rows, None), 0.5)
    network = TURTLENetwork([space], 3, 1, gamma=2.0, generator=torch.Generator().manual_seed(0)).double()
    network(rows).backward()
    features = network.features(rows)
    labeling = network.probabilities(features)
    scores = network.classifiers.of_spaces(features)[0]
    inner = -(labeling.detach() * scores.log_softmax(-1)).sum(-1).mean()
    weight = network.classifiers.heads[0].linear.weight
    assert_close(weight.grad, torch.autograd.grad(inner, weight)[0], atol=1e-12)
    outer = -(labeling * scores.detach().log_softmax(-1)).sum(-1).mean() - 2 * entropy(labeling.mean(0)).sum()
    weight = network.heads.heads[0].linear.weight
    assert_close(weight.grad, torch.autograd.grad(outer, weight)[0], atol=1e-12)


@pytest.mark.parametrize("spaces", [None, [slice(0, 3), slice(3, 6)]])
def test_the_loss_approaches_its_lower_bound(spaces):
    """-γ S ln k, which certain clusters of equal size reach."""
    X = np.tile(np.repeat(9 * np.eye(3), 30, axis=0), 2).astype(np.float32)
    model = TURTLEClusterer(3, spaces=spaces, gamma=2.0, learning_rate=0.1, random_state=0).fit(X)
    ratios = [row["loss_ratio"] for row in model.history_]
    assert 0.95 < ratios[-1] <= 1
    n_spaces = len(spaces or [None])
    np.testing.assert_allclose(ratios, [row["loss"] / (-2 * n_spaces * np.log(3)) for row in model.history_])
    model.set_params(gamma=0.0).fit(X)
    assert "loss_ratio" not in model.history_[0]  # the lower bound is 0


def test_gamma_makes_sizes_equal(global_random_seed):
    rng, y = np.random.RandomState(global_random_seed), np.repeat([0, 1], [160, 40])
    X = rng.normal(size=(200, 5)).astype(np.float32) + 6 * np.eye(2, 5, dtype=np.float32)[y]
    free, equal = (TURTLEClusterer(2, gamma=gamma, random_state=0).fit(X) for gamma in (0.1, 100.0))
    assert adjusted_rand_score(y, free.labels_) > 0.9
    smallest = [np.bincount(model.labels_, minlength=2).min() for model in (free, equal)]
    assert smallest[0] < smallest[1]
