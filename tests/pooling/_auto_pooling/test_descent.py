"""The objective of moments against that of frames, and the minima that the descent finds against known ones."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sklinvariant.pooling._auto_pooling._descent import PoolingObjective, best_multiple, descend
from sklinvariant.pooling._pair_moments import pair_moments, pooling_errors

D = 6


def _pairs(n=40, seed=0):
    """(n, 2, d): y′ is near y."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(n, D, generator=generator, dtype=torch.float64) ** 2
    return torch.stack([y, (y + 0.3 * torch.randn(n, D, generator=generator, dtype=torch.float64)).clamp(min=0)], 1)


def _objective(pairs, invariance=1.5, cross=False):
    follows = torch.arange(2 * len(pairs) - 1) % 2 == 0
    return PoolingObjective(pair_moments(pairs.flatten(0, 1), follows, with_first=cross), invariance, cross)


def _start(k, seed=1):
    return torch.rand(k, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2


def _over_frames(pairs, components, invariance, cross):
    change, missed = pooling_errors(pairs[:, 0], pairs[:, 1], components, cross)
    return (invariance * change + missed) / len(pairs)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("invariance", [0.0, 1.5, 100.0])
def test_the_objective_is_that_of_the_frames(cross, invariance):
    pairs, components = _pairs(), _start(3)
    objective = _objective(pairs, invariance, cross)
    value = objective.at(components).iterate().objective
    assert value == pytest.approx(float(_over_frames(pairs, components, invariance, cross)))
    change, missed = pooling_errors(pairs[:, 0], pairs[:, 1], components, cross)
    assert objective.errors(components) == pytest.approx((float(change) / len(pairs), float(missed) / len(pairs)))


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_gradient(cross, k):
    pairs, components = _pairs(), _start(k).requires_grad_()
    objective = _objective(pairs, cross=cross)
    (expected,) = torch.autograd.grad(_over_frames(pairs, components, 1.5, cross), components)
    torch.testing.assert_close(objective.at(components.detach()).gradient() * objective.unit, expected)
    h, point = 1e-6, components.detach()
    for i, j in itertools.product(range(k), range(D)):  # and by differences, which know nothing of autograd
        move = torch.zeros_like(point)
        move[i, j] = h
        slope = (objective.at(point + move).value - objective.at(point - move).value) / (2 * h)
        assert slope * objective.unit == pytest.approx(float(expected[i, j].detach()), rel=1e-5, abs=1e-7)


def test_best_multiple():
    pairs, components = _pairs(), _start(3)
    objective = _objective(pairs, 0.0)
    best = best_multiple(components, *objective.ray(components))
    values = [objective.at(best * s).value for s in (0.99, 1.0, 1.01)]
    assert values[1] < min(values[0], values[2])
    assert best_multiple(components, 0.0, 0.0) is components


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("invariance", [0.0, 1.5, 20.0, 1e6])
def test_descent_falls_to_a_minimum(invariance, cross):
    objective = _objective(_pairs(), invariance, cross)
    path = list(itertools.islice(descend(objective, _start(3)), 3000))
    values = [iterate.objective for iterate in path]
    assert all(a >= b for a, b in itertools.pairwise(values))
    end = path[-1]
    assert end.residual < 1e-6 * path[0].residual
    assert bool((end.components >= 0).all())
    gradient = objective.at(end.components).gradient()
    assert float(gradient.min()) > -1e-5  # no entry would rather be larger
    assert float((gradient * end.components).abs().max()) < 1e-5  # nor smaller, where it can be

    def function(x):  # a published optimiser finds nothing lower nearby
        point = objective.at(torch.from_numpy(x).view(3, D))
        return point.value, point.gradient().numpy().ravel()

    bounds = [(0, None)] * (3 * D)
    found = minimize(function, end.components.numpy().ravel(), jac=True, method="L-BFGS-B", bounds=bounds)
    assert found.fun * objective.unit > end.objective - 1e-6 * objective.unit


def test_one_component_is_the_leading_eigenvector():
    """λ = 0: the best approximation of rank one, which is non-negative by the theorem of Perron and Frobenius."""
    objective = _objective(_pairs(), 0.0)
    *_, end = itertools.islice(descend(objective, _start(1)), 2000)
    values, vectors = np.linalg.eigh(objective.quadratic.numpy())
    assert end.objective == pytest.approx((1 - values[-1]) / 2 * objective.unit)
    np.testing.assert_allclose(end.components[0], np.abs(vectors[:, -1]), atol=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_units_do_not_matter(size):
    pairs = _pairs()
    *_, end = itertools.islice(descend(_objective(pairs), _start(3)), 50)
    *_, scaled = itertools.islice(descend(_objective(pairs * size), _start(3)), 50)
    torch.testing.assert_close(scaled.components, end.components, rtol=1e-4, atol=1e-6)
    assert scaled.objective == pytest.approx(end.objective * size**2, rel=1e-6)


def test_nothing_to_descend():
    path = list(descend(_objective(torch.zeros(4, 2, D, dtype=torch.float64)), _start(2)))
    assert len(path) == 1
    assert path[0].objective == path[0].residual == 0
