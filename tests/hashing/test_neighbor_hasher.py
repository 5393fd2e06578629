"""NeighborHasher: its loss and gradient against plain numpy, quality against ITQ, continued training."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors, kneighbors_graph
from tolerance import assert_close, assert_same_labels

from sklinvariant import ITQHasher, NeighborHasher
from sklinvariant.accumulate import Blocks, _blocks
from sklinvariant.hashing._neighbor_hasher import (
    NeighborNetwork,
    nearest_in_batch,
    neighbor_loss,
    overcomplete_itq,
    partners,
    straight_through,
)
from sklinvariant.metrics import bit_activations, exact_ranking, mean_average_precision
from sklinvariant.pairs import NeighborBatch


@pytest.fixture
def rows(global_random_seed):
    generator = torch.Generator().manual_seed(global_random_seed)
    return torch.randn(9, 4, generator=generator, dtype=torch.float64)


def retrieval(hasher, X, y):
    """Mean average precision of the 50 nearest rows and of the rows of the same class; every fifth row is a query."""
    queries, database = np.arange(len(X)) % 5 == 0, np.arange(len(X)) % 5 > 0
    hasher.fit(X[database])
    ranking = exact_ranking(hasher.transform(X[queries]), hasher.transform(X[database]), metric="hamming")
    nearest = exact_ranking(X[queries], X[database], n_neighbors=50)
    return [mean_average_precision(ranking, relevant) for relevant in (nearest, y[queries][:, None] == y[database])]


def test_nearest_in_batch_against_scikit_learn(rows):
    expected = NearestNeighbors(n_neighbors=3).fit(rows.numpy()).kneighbors(return_distance=False)
    np.testing.assert_array_equal(nearest_in_batch(rows, 3), expected)
    assert nearest_in_batch(rows[:3], 5).shape == (3, 2)
    assert nearest_in_batch(rows[:1], 5).shape == (1, 0)


def test_loss_against_a_numpy_loop(rows):
    codes, neighbors = torch.where(rows > 0, 1.0, -1.0).double(), nearest_in_batch(rows, 2)
    expected = []
    for i, near in enumerate(neighbors.tolist()):
        similarity = (codes @ codes[i]).numpy() / (4 * 0.3)
        others = np.log(np.exp(np.delete(similarity, i)).sum())
        expected += [others - similarity[j] for j in near]
    assert_close(neighbor_loss(codes, neighbors, 0.3), np.mean(expected))


def test_partners_of_pairs():
    np.testing.assert_array_equal(partners(6), [[1], [0], [3], [2], [5], [4]])


def test_codes_agree_on_pairs(global_random_seed):
    """The first 4 features are shared by a pair; the others are noise, which is larger."""
    rng = np.random.RandomState(global_random_seed)
    shared, noise = rng.normal(size=(200, 1, 4)).repeat(2, axis=1), 2 * rng.normal(size=(200, 2, 8))
    pairs = np.concatenate([shared, noise], axis=2)
    first, second = (
        hasher.transform(pairs[:, 0]) != hasher.transform(pairs[:, 1])
        for hasher in (
            NeighborHasher(16, pairs="explicit", random_state=0).fit(pairs),
            NeighborHasher(16, random_state=0).fit(pairs.reshape(-1, 12)),
        )
    )
    assert first.mean() < 0.6 * second.mean()


def test_pairs_need_three_axes(digits):
    with pytest.raises(ValueError, match=r"pairs must be of shape \(n, 2, ...\), got \(600, 64\)"):
        NeighborHasher(4, pairs="explicit").fit(digits)
    hasher = NeighborHasher(4, pairs="explicit", random_state=0).partial_fit(digits.reshape(-1, 2, 64))
    assert hasher.n_iter_ == 1
    assert hasher.partial_fit(digits.reshape(-1, 2, 64)).n_iter_ == 2
    with pytest.raises(ValueError, match="dim 3"):
        hasher.transform(digits.reshape(-1, 2, 64))


@pytest.mark.parametrize(("pairs", "X"), [("neighbors", np.ones((1, 4))), ("explicit", np.ones((1, 2, 4)))])
def test_a_single_sample_has_no_others(pairs, X):
    hasher = NeighborHasher(4, pairs=pairs)
    for fit in (hasher.fit, hasher.partial_fit):
        with pytest.raises(ValueError, match="at least 2 samples, but X has n_samples=1"):
            fit(X)


def test_codes_of_pairs_are_refused_before_training(digits):
    hasher = NeighborHasher(4, pairs="explicit")
    with pytest.raises(ValueError, match=r"computes codes of rows. Call fit\(pairs\), then transform\(rows\)"):
        hasher.fit_transform(digits.reshape(-1, 2, 64))
    assert not hasattr(hasher, "components_")


def test_gradient_of_the_loss(rows):
    neighbors = nearest_in_batch(rows, 2)
    codes = rows.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda codes: neighbor_loss(codes, neighbors, 0.3), codes)


def test_signs_have_the_gradient_of_the_hyperbolic_tangent(rows):
    projections, smooth = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    codes = straight_through(projections)
    np.testing.assert_array_equal(codes.detach() > 0, rows > 0)
    assert_close(codes.detach().abs(), torch.ones_like(rows))
    (codes * rows).sum().backward()
    (smooth.tanh() * rows).sum().backward()
    assert_close(projections.grad, smooth.grad)


def test_a_single_row_has_a_loss(rows):
    network = NeighborNetwork(torch.eye(4).double(), torch.zeros(4).double(), n_neighbors=5, temperature=0.1)
    assert network(rows[:1]).item() == pytest.approx(0)


def test_it_starts_from_itq(digits):
    components = torch.tensor(digits - digits.mean(0))
    weight = overcomplete_itq(Blocks(components), 100, torch.Generator().manual_seed(0))
    assert weight.shape == (100, 64)
    assert_close(weight[:64] @ weight[:64].T, torch.eye(64).double(), atol=1e-9)
    assert_close(weight[64:] @ weight[64:].T, torch.eye(36).double(), atol=1e-9)
    assert weight[64:, 36:].abs().max() == 0


def test_it_finds_more_neighbors_than_itq(global_random_seed):
    X, y = load_digits(return_X_y=True)
    ours = retrieval(NeighborHasher(32, max_epochs=30, random_state=global_random_seed), X, y)
    itq = retrieval(ITQHasher(32, random_state=global_random_seed), X, y)
    assert ours[0] > itq[0] + 0.01
    assert ours[1] > itq[1] + 0.01


def test_a_higher_temperature_finds_classes(global_random_seed):
    X, y = load_digits(return_X_y=True)
    low, high = (
        retrieval(NeighborHasher(32, temperature=temperature, max_epochs=20, random_state=global_random_seed), X, y)
        for temperature in (0.1, 0.3)
    )
    assert low[0] > high[0] + 0.01
    assert high[1] > low[1] + 0.01


def test_more_bits_than_features_are_used_evenly(digits):
    codes = NeighborHasher(128, max_epochs=20, random_state=0).fit_transform(digits)
    assert len(np.unique(codes, axis=1).T) == 128
    assert np.abs(bit_activations(codes) - 0.5).mean() < 0.15


def test_projections_follow_from_the_attributes(digits):
    hasher = NeighborHasher(16, max_epochs=2, random_state=0).fit(digits)
    expected = (digits - hasher.mean_) @ hasher.basis_.T @ hasher.components_.T + hasher.intercept_
    assert_close(hasher.decision_function(digits), expected)


def test_codes_do_not_depend_on_units(digits):
    hasher, other = (NeighborHasher(16, max_epochs=2, random_state=0) for _ in range(2))
    codes, scores = hasher.fit(digits).transform(digits), hasher.decision_function(digits)
    moved = other.fit(digits * 64 - 32).transform(digits * 64 - 32)
    assert_same_labels(moved, codes, scores, margin=0.01)


def test_auto_makes_200_steps(digits):
    assert NeighborHasher(8, batch_size=30, random_state=0).fit(digits[:150]).n_iter_ == 40
    assert NeighborHasher(8, max_epochs=2, random_state=0).fit(digits).n_iter_ == 2


def test_going_on(digits):
    hasher = NeighborHasher(9, max_epochs=3, warm_start=True, random_state=0).fit(digits)
    basis = hasher.basis_
    hasher.set_params(max_epochs=2).fit(digits)
    assert [row["epoch"] for row in hasher.history_] == [1, 2, 3, 4, 5]
    assert_close(hasher.basis_, basis)
    with pytest.raises(ValueError, match="n_bits=8 differs from 9 in the previous fit"):
        hasher.set_params(n_bits=8).fit(digits)


def test_parts_learn_as_well(digits):
    """The loss of all rows decreases from part to part."""
    hasher, losses = NeighborHasher(16, random_state=0), []
    for _ in range(5):
        for start in range(0, 600, 200):
            hasher.partial_fit(digits[start : start + 200])
        losses.append(np.mean([row["loss"] for row in hasher.history_[-3:]]))
    assert losses[-1] < losses[0]


def test_the_loss_of_a_graph_is_that_of_the_same_neighbours(rows):
    network = NeighborNetwork(torch.eye(4).double(), torch.zeros(4).double(), n_neighbors=2, temperature=0.3)
    near = torch.zeros(9, 9, dtype=torch.bool).scatter_(1, nearest_in_batch(rows, 2), True)
    assert network(NeighborBatch(rows, near)).item() == pytest.approx(network(rows).item())


def test_neighbours_of_a_graph_and_of_an_estimator(digits):
    """An estimator finds the graph that is passed, so both fits are the same."""
    graph, quick = kneighbors_graph(digits, 4), {"max_epochs": 2, "random_state": 0}
    hasher = NeighborHasher(16, **quick).fit(digits, graph=graph)
    other = NeighborHasher(16, neighbors=NearestNeighbors(n_neighbors=4), **quick)
    assert_close(other.fit(digits).decision_function(digits), hasher.decision_function(digits))
    assert not hasattr(other.neighbors, "n_features_in_")
    assert clone(other).set_params(neighbors__n_neighbors=9).neighbors.n_neighbors == 9
    np.testing.assert_array_equal(hasher.fit_transform(digits, graph=graph), other.transform(digits))
    assert hasher.partial_fit(digits[:300], graph=graph[:300, :300]).n_iter_ == 3
    assert other.partial_fit(digits[:300]).n_iter_ == 3


def test_a_graph_of_classes_gives_codes_of_classes(global_random_seed):
    """Rows of a class, which the graph joins, get similar codes; half of the rows have no neighbours."""
    X, y = load_digits(return_X_y=True)
    graph = kneighbors_graph(50 * y[:, None] + np.random.RandomState(0).rand(len(y), 1), 30).tolil()
    graph[::2] = 0
    graph = graph.tocsr()
    graph.eliminate_zeros()
    queries, database = np.arange(len(X)) % 5 == 0, np.arange(len(X)) % 5 > 0
    scores = []
    for given in (graph[database][:, database], None):
        hasher = NeighborHasher(32, max_epochs=20, random_state=global_random_seed).fit(X[database], graph=given)
        ranking = exact_ranking(hasher.transform(X[queries]), hasher.transform(X[database]), metric="hamming")
        scores.append(mean_average_precision(ranking, y[queries][:, None] == y[database]))
    assert scores[0] > scores[1] + 0.05


def test_graphs_that_do_not_suit_the_rows_or_pairs(digits):
    graph = kneighbors_graph(digits, 4)
    with pytest.raises(ValueError, match=r"graph must have shape \(600, 600\) for 600 samples, got \(600, 80\)"):
        NeighborHasher(4).fit(digits, graph=graph[:, :80])
    with pytest.raises(ValueError, match="graph contains neighbours, but pairs is 'explicit'"):
        NeighborHasher(4, pairs="explicit").fit(digits.reshape(-1, 2, 64), graph=graph)
    with pytest.raises(ValueError, match="neighbors finds neighbours, but pairs is 'explicit'"):
        NeighborHasher(4, pairs="explicit", neighbors=NearestNeighbors()).fit(digits.reshape(-1, 2, 64))
    with pytest.raises(ValueError, match="The 'neighbors' parameter of NeighborHasher must be"):
        NeighborHasher(4, neighbors=5).fit(digits)


def test_200_steps_with_a_graph_of_some_rows(digits):
    graph = kneighbors_graph(digits[:150], 4)[:60]
    graph.resize(150, 150)
    assert NeighborHasher(8, batch_size=30, random_state=0).fit(digits[:150], graph=graph).n_iter_ == 100


def test_rows_that_are_not_held_in_memory(digits, monkeypatch):
    """Components are then computed for each batch."""
    held = NeighborHasher(16, max_epochs=3, random_state=0).fit(digits)
    monkeypatch.setattr(_blocks, "HELD_BYTES", 0)
    assert_close(NeighborHasher(16, max_epochs=3, random_state=0).fit(digits).components_, held.components_, rtol=1e-6)
