"""The machine against sums over all of its states, and its regulariser against its definition."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp

from sklinvariant.hashing._rbm import RestrictedBoltzmannMachine, free_energy, pseudo_log_likelihood, uniform_targets


def batch_regularizer(z, targets):
    """h(B) of equation 7: minus the cross-entropy of activations and targets, summed over bits, mean over samples."""
    eps = torch.finfo(z.dtype).eps
    z = z.clamp(eps, 1 - eps)
    return (targets * z.log() + (1 - targets) * (1 - z).log()).sum(1).mean()


def _all_states(n):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * n)


def _gradients(machine, data):
    """The negative change of the parameters by a step with a learning rate of 1."""
    before = [parameter.detach().clone() for parameter in machine.parameters()]
    error = machine.learn(data, 1.0)
    return [old - new.detach() for old, new in zip(before, machine.parameters(), strict=True)], error


def test_free_energy_sums_over_all_hidden_states(small):
    weight, b, c = small
    v, z = _all_states(5), _all_states(3)
    energies = -(v @ c)[:, None] - z @ b - v @ weight.T @ z.T
    np.testing.assert_allclose(free_energy(v, weight, b, c), -logsumexp(-energies.numpy(), axis=1))


def test_pseudo_likelihood_sums_over_all_units(small):
    weight, b, c = small
    v = _all_states(5)[::3]
    expected = np.zeros(len(v))
    for i in range(5):
        other = v.clone()
        other[:, i] = 1 - other[:, i]
        gap = free_energy(other, weight, b, c) - free_energy(v, weight, b, c)
        expected += np.log(expit(gap.numpy()))
    np.testing.assert_allclose(pseudo_log_likelihood(v, weight, b, c), expected)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_autocast_applies_to_the_update(momentum):
    """The update is a product of bfloat16, which has 8 bits, like the other products."""
    generator = torch.Generator().manual_seed(0)
    weight, v = torch.zeros(3, 6), torch.rand(8, 6, generator=generator)
    machine = RestrictedBoltzmannMachine(weight, torch.zeros(3), torch.zeros(6), generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        machine.learn(v, 1.0, momentum)
    update = machine.weight.detach()
    assert update.abs().min() > 0
    assert torch.equal(update, update.bfloat16().float())


def test_gradient_of_the_likelihood(small):
    """If the states are samples of the model, contrastive divergence is the gradient of -log P."""
    parameters = [value.clone().requires_grad_() for value in small]
    everything, data = _all_states(5), _all_states(5)[[3, 17, 21]]
    log_likelihood = -free_energy(data, *parameters).mean() - torch.logsumexp(-free_energy(everything, *parameters), 0)
    expected = torch.autograd.grad(-log_likelihood, parameters)
    machine = RestrictedBoltzmannMachine(*small)
    chance = torch.softmax(-free_energy(everything, *small), 0)
    z = machine.hidden(everything)
    of_model = (z * chance[:, None]).T @ everything
    of_data = machine.hidden(data).T @ data / 3
    torch.testing.assert_close(expected[0], (of_model - of_data).detach())
    # one batch of the machine, its model states being those that it drew
    machine.generator = torch.Generator().manual_seed(0)
    (weight, hidden, visible), error = _gradients(machine, data)
    machine.generator = torch.Generator().manual_seed(0)
    machine = RestrictedBoltzmannMachine(*small, generator=machine.generator).requires_grad_(False)
    model = machine.gibbs(data)
    torch.testing.assert_close(weight, machine.hidden(model).T @ model / 3 - of_data)
    torch.testing.assert_close(hidden, (machine.hidden(model) - machine.hidden(data)).mean(0))
    torch.testing.assert_close(visible, (model - data).mean(0))
    assert error == pytest.approx((model - data).square().mean().item())


def test_steps_are_those_of_torch(small):
    """With momentum and weight decay, the steps are those of torch's SGD for the same gradients."""
    data = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [value.clone() for value in small]
    sgd = torch.optim.SGD(expected, lr=0.3, momentum=0.7)
    options = {"persistent": True, "weight_decay": 0.2}
    machine, other = (
        RestrictedBoltzmannMachine(*small, generator=torch.Generator().manual_seed(0), **options) for _ in range(2)
    )
    for _ in range(3):
        other.load_state_dict(machine.state_dict())
        for value, gradient in zip(expected, _gradients(other, data)[0], strict=True):
            value.grad = gradient
        sgd.step()
        machine.learn(data, 0.3, 0.7)
        for value, parameter in zip(expected, machine.parameters(), strict=True):
            torch.testing.assert_close(parameter.detach(), value)


@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_gradient_of_the_regularizer(small, strength):
    """The regularization adds the gradient of -λ h(B) for fixed targets."""
    parameters = [value.clone().requires_grad_() for value in small]
    data = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z = torch.sigmoid(data @ parameters[0].T + parameters[1])
    penalty = -strength * batch_regularizer(z, uniform_targets(z.detach()))
    expected = torch.autograd.grad(penalty, parameters[:2])
    found = []
    for regularization in (strength, 0.0):
        generator = torch.Generator().manual_seed(0)
        machine = RestrictedBoltzmannMachine(*small, regularization=regularization, generator=generator)
        found.append(_gradients(machine, data)[0])
    for i in range(2):
        torch.testing.assert_close(found[0][i] - found[1][i], expected[i])


def test_regularizer_is_the_cross_entropy():
    z, t = torch.tensor([[0.2, 0.9], [0.5, 1.0]]), torch.tensor([[0.25, 0.75], [0.75, 0.25]])
    rows = (t * z.log() + (1 - t) * torch.log1p(-z.clamp(max=1 - 1.2e-7))).sum(1)
    assert batch_regularizer(z, t).item() == pytest.approx(rows.mean().item(), rel=1e-3)
    torch.autograd.gradcheck(
        lambda z: batch_regularizer(z, t.double()), torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    )


@pytest.mark.parametrize("shape", [(100, 32), (50, 7), (1, 9), (9, 1), (3, 64)])
def test_targets_are_uniform(shape, global_random_seed):
    z = torch.rand(shape, generator=torch.Generator().manual_seed(global_random_seed), dtype=torch.float64)
    t = uniform_targets(z**3)  # bits that are seldom on
    n, b = shape
    expected = (torch.arange(b, dtype=torch.float64) + 0.5) / b
    torch.testing.assert_close(t.sort(1).values, expected.expand(n, b))
    if n >= 50 and b >= 7:
        assert (t.mean(0) - 0.5).abs().max() < 0.1
        assert ((t > 0.5).double().mean(0) - 0.5).abs().max() < 0.2
        # they keep the order of a bit's activations, mostly
        correlation = np.corrcoef(t[:, 0], z[:, 0])[0, 1]
        assert correlation > 0.5


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_targets_of_equal_activations(value):
    t = uniform_targets(torch.full((6, 4), value))
    torch.testing.assert_close(t.sort(1).values, torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(6, 4))
