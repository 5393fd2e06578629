"""Training on batches of pairs: units that continue, parts of the data, and steps that are too long."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close

from sklinvariant import AutoPooling
from sklinvariant.pooling._auto_pooling import _by_batches
from sklinvariant.pooling._auto_pooling._by_batches import FramePairBatches, PoolingLoss, ProjectedSGD, pair_curvature

GROUPS = np.repeat(np.arange(5), [30, 1, 20, 2, 47])  # the clips of the fixture ``frames``


@pytest.mark.parametrize("warm_start", [False, True])
def test_features_that_were_constant_at_first_do_not_count_in_batches(frames, warm_start):
    """Their scale is unknown, so that a later value of 1e4 would be 1e4 deviations."""
    X = np.pad(frames, ((0, 0), (0, 1)))
    later = np.pad(frames, ((0, 0), (0, 1)), constant_values=1e4)
    params = {"solver": "sgd", "max_epochs": 3, "warm_start": warm_start, "random_state": 0}
    model, expected = (AutoPooling(3, **params).fit(x) for x in (X, X))
    for each, x in ((model, later), (expected, X)):
        (each.fit if warm_start else each.partial_fit)(x)
    assert_close(model.components_, expected.components_)
    assert model.objective_ == pytest.approx(expected.objective_)


@pytest.mark.parametrize("standardize", [False, True])
def test_batches_cannot_continue_in_other_units(frames, standardize):
    model = AutoPooling(3, solver="sgd", max_epochs=2, standardize=not standardize, random_state=0).fit(frames)
    model.set_params(standardize=standardize)
    message = f"cannot continue a fit with {not standardize}. Set standardize={not standardize}, or fit a clone"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(frames)
    with pytest.raises(ValueError, match=message):
        model.set_params(warm_start=True).fit(frames)
    model.set_params(warm_start=False).fit(frames)
    assert (model.scale_ is not None) == standardize


def test_partial_fit_by_batches(frames):
    model = AutoPooling(3, solver="sgd", batch_size=16, learning_rate=0.1, random_state=0)
    first = model.partial_fit(frames, groups=GROUPS).objective_
    for _ in range(100):
        model.partial_fit(frames, groups=GROUPS)
    assert model.n_iter_ == 101
    exact = AutoPooling(3, random_state=0).fit(frames, groups=GROUPS)
    assert model.objective_ == pytest.approx(exact.objective_, rel=0.1)
    assert first > 1.2 * exact.objective_


def test_a_step_too_long_is_named(frames, monkeypatch):
    with pytest.warns(ConvergenceWarning, match="all components are almost 0. Lower learning_rate"):
        AutoPooling(3, solver="sgd", learning_rate=1e6, standardize=False, random_state=0).fit(frames)
    model = AutoPooling(3, solver="sgd", random_state=0).fit(frames)
    before = model.components_
    monkeypatch.setattr(_by_batches, "pair_curvature", lambda *args: 1e-300)
    with pytest.raises(FloatingPointError, match=r"in epoch 2\. Lower learning_rate"):
        model.set_params(momentum=0.0).fit(frames)
    np.testing.assert_array_equal(model.components_, before)


def _pairs():
    return torch.rand(30, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("cross", [False, True])
def test_gradcheck(cross):
    loss, pairs = PoolingLoss(_pairs()[:3, 0], 0.7, cross), _pairs()

    def function(components):
        return torch.func.functional_call(loss, {"components": components}, (pairs,))

    assert torch.autograd.gradcheck(function, loss.components)


def test_steps_are_projected():
    loss, pairs = PoolingLoss(_pairs()[:3, 0], 0.7), _pairs()
    optimizer = ProjectedSGD(loss.parameters(), lr=100.0)
    loss(pairs).backward()
    expected = (loss.components - 100 * loss.components.grad).clamp(min=0).detach()
    optimizer.step()
    torch.testing.assert_close(loss.components.detach(), expected)
    assert bool((expected == 0).any())


def test_curvature():
    """The second derivative of J along v at P = p v, for the leading v of S and the best p, where S_Δ = 0."""
    pairs = _pairs()[:, :1].expand(-1, 2, -1)
    moment = pairs.flatten(0, 1).T @ pairs.flatten(0, 1) / len(pairs)
    values, vectors = torch.linalg.eigh(moment)
    v = vectors[:, -1:].T

    def along(p):
        return PoolingLoss(p * v, 3.0)(pairs).item()

    h = 1e-3
    bend = (along(1 + h) - 2 * along(1.0) + along(1 - h)) / h**2
    assert pair_curvature(pairs, 3.0) == pytest.approx(bend, rel=1e-4)
    assert pair_curvature(torch.zeros(4, 2, 3), 1.0) == 0
    moved = torch.stack([pairs[:, 0], torch.zeros_like(pairs[:, 0])], 1)
    assert pair_curvature(moved, 3.0) == pytest.approx(float(7 * values[-1] / 2), rel=1e-6)


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
