"""Mutual information of pairs of assignments: the paper's six lines, numpy, symmetries, gradients, precision."""

import numpy as np
import pytest
import torch

from sklinvariant.ops import joint_information, joint_sum


def _assignments(seed, n=12, h=2, k=4, sharpness=2.0, dtype=torch.float64):
    rng = np.random.RandomState(seed)
    z = torch.tensor(sharpness * rng.normal(size=(2, n, h, k)), dtype=dtype).softmax(-1)
    return z[0], z[1]


def _information(one, two, entropy_weight=1.0):
    return joint_information(joint_sum(one, two), entropy_weight)


def six_lines(z, zt, C, eps=1e-12):
    """The code of figure 4 of the paper, which returns -I, with P in front of the logarithms as in equation 3."""
    P = (z.unsqueeze(2) * zt.unsqueeze(1)).sum(dim=0)
    P = ((P + P.t()) / 2) / P.sum()
    P[(eps > P).data] = eps
    Pi = P.sum(dim=1).view(C, 1).expand(C, C)
    Pj = P.sum(dim=0).view(1, C).expand(C, C)
    return (P * (torch.log(Pi) + torch.log(Pj) - torch.log(P))).sum()


def test_the_papers_six_lines(global_random_seed):
    one, two = _assignments(global_random_seed)
    found = _information(one, two)
    for head in range(2):
        torch.testing.assert_close(-six_lines(one[:, head], two[:, head], 4), found[head])


@pytest.mark.parametrize("entropy_weight", [0.5, 1.0, 3.0])
def test_numpy_entry_by_entry(entropy_weight, global_random_seed):
    one, two = _assignments(global_random_seed)
    found = _information(one, two, entropy_weight)
    for head in range(2):
        P = np.mean([np.outer(a, b) for a, b in zip(one[:, head].numpy(), two[:, head].numpy(), strict=True)], axis=0)
        P = (P + P.T) / 2
        total = 0.0
        for c in range(4):
            for d in range(4):
                marginals = np.log(P[c].sum()) + np.log(P[:, d].sum())
                total += P[c, d] * (np.log(P[c, d]) - entropy_weight * marginals)
        assert found[head].item() == pytest.approx(total)


def test_what_does_not_change_it(global_random_seed):
    one, two = _assignments(global_random_seed)
    expected = _information(one, two)
    order, names = torch.randperm(12), torch.randperm(4)
    for a, b in ((two, one), (one[order], two[order]), (one[..., names], two[..., names])):
        torch.testing.assert_close(_information(a, b), expected)


def test_parts_of_the_pairs_add_up(global_random_seed):
    one, two = _assignments(global_random_seed)
    parts = sum(joint_sum(a, b) for a, b in zip(one.split(5), two.split(5), strict=True))
    torch.testing.assert_close(parts, joint_sum(one, two))


def test_its_least_and_most():
    uniform = torch.full((6, 1, 3), 1 / 3, dtype=torch.float64)
    constant = torch.eye(3, dtype=torch.float64)[torch.zeros(6, dtype=torch.long), None]
    certain = torch.eye(3, dtype=torch.float64)[torch.arange(6) % 3, None]
    for z, expected in ((uniform, 0.0), (constant, 0.0), (certain, np.log(3))):
        assert _information(z, z).item() == pytest.approx(expected, abs=1e-12)
    assert _information(uniform, uniform, 2.0).item() == pytest.approx(2 * np.log(3))


def test_gradient(global_random_seed):
    one, two = _assignments(global_random_seed, n=5, k=3)
    one.requires_grad_(), two.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: _information(a, b, 1.5), (one, two))


def test_gradient_is_finite_where_a_probability_is_0():
    z = torch.eye(3)[torch.zeros(4, dtype=torch.long), None].requires_grad_()
    _information(z, z).sum().backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype, global_random_seed):
    """4096 pairs of probability 1e-3 each would be lost in a sum of half precision."""
    one, two = _assignments(global_random_seed, n=4096, k=30, dtype=torch.float32)
    one, two = one.to(dtype), two.to(dtype)
    found = _information(one, two)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, _information(one.double(), two.double()).float())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(_information(one, two), found)
