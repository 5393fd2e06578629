"""Kernels of soft moments, forward and backward, against the torch reference in float64."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant import LearnedBoW, LearnedFisherVector, LearnedVLAD
from sklinvariant._precision import computing_in
from sklinvariant.accumulate import Blocks, fit_mixture
from sklinvariant.ops import Scores, _kernels, soft_moments, weighted_moments

RAGGED = [3, 0, 41, 70, 1, 0]


def randn(*shape, seed=0):
    """Random numbers in float64 that bfloat16 represents exactly."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().double()


def case(sizes, k, d, powers=1, offset=0.0):
    """Values, offsets and scores in float64."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    weight = randn(powers * d, k, seed=1) * 2.0 ** -round(np.log2(d) / 2)
    shift, scale = torch.full((d,), offset, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    return 2 * randn(offsets[-1], d) + offset, offsets, Scores(weight, randn(k, seed=2), shift, scale)


def results(values, offsets, scores, order):
    """The moments and the gradients of values, weight and bias."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in (values, scores.weight, scores.bias)]
    moments = soft_moments(inputs[0], offsets, Scores(*inputs[1:], scores.shift, scores.scale), order)
    probes = [randn(*part.shape, seed=3).to(part) for part in moments]
    gradients = torch.autograd.grad(sum((a * b).sum() for a, b in zip(moments, probes, strict=True)), inputs)
    return [*moments, *gradients]


def on(device, values, offsets, scores, dtype=torch.float32):
    return values.to(device, dtype), offsets, Scores(*(part.to(device, torch.float32) for part in scores))


def assert_agree(device, data, order, rtol=None, dtype=torch.float32):
    expected = results(*data, order)  # in float64, for which there is no kernel
    for got, wanted in zip(results(*on(device, *data, dtype), order), expected, strict=True):
        assert_close(got, wanted, rtol=rtol)


@pytest.mark.parametrize("powers", [1, 2])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_every_order(kernels, powers, order):
    assert_agree(kernels, case(RAGGED, 5, 3, powers), order)


@pytest.mark.parametrize(
    ("sizes", "k", "d", "powers", "order"),
    [
        ([1], 2, 1, 2, 2),
        ([0, 33, 0], 70, 24, 1, 1),
        ([5] * 6, 130, 3, 2, 2),
        ([20, 15], 33, 128, 1, 1),
        ([9, 2], 3, 513, 1, 1),
        ([4], 3, 513, 1, 0),
    ],
)
def test_shapes(kernels, sizes, k, d, powers, order):
    assert_agree(kernels, case(sizes, k, d, powers), order)


def test_a_large_bag_is_divided(kernels, count_launches, monkeypatch):
    from sklinvariant.ops.gpu import _soft_moments

    monkeypatch.setattr(_soft_moments, "LEAST_ROWS", 32)
    data = case([110, 30, 0, 60], 3, 2)
    first, second = (results(*on(kernels, *data), 1) for _ in range(2))
    assert count_launches.count("_sum_kernel") == 4  # adds the parts of mass and sums
    for got, again, wanted in zip(first, second, results(*data, 1), strict=True):
        assert torch.equal(got, again)
        assert_close(got, wanted)


@pytest.mark.parametrize("k", [3, 70])
def test_values_on_the_host_are_copied_in_parts(kernels, monkeypatch, k):
    from sklinvariant.ops.gpu import _soft_moments

    def parts(values, like):
        for start in range(0, len(values), 40):
            yield start, min(start + 40, len(values)), values[start : start + 40].detach().to(like.device)

    monkeypatch.setattr(_soft_moments, "device_chunks", parts)
    assert_agree(kernels, case(RAGGED, k, 3), 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_values_of_half_precision(kernels, dtype):
    data = case(RAGGED, 5, 24)
    assert_agree(kernels, data, 1, rtol=2e-2 if dtype == torch.bfloat16 else 2e-3, dtype=dtype)


@pytest.mark.parametrize(("precision", "rtol"), [("tf32", 3e-3), ("bf16", 3e-2)])
@pytest.mark.parametrize(("k", "order"), [(5, 2), (130, 1)])
def test_lower_precision(kernels, precision, rtol, k, order):
    with computing_in(precision):
        assert_agree(kernels, case([40, 0, 30], k, 24), order, rtol=rtol)


@pytest.mark.parametrize("k", [6, 70])
def test_codewords_that_are_switched_off(kernels, k):
    values, offsets, scores = case(RAGGED, k, 3)
    scores.bias[: k - 2] = -torch.inf
    assert_agree(kernels, (values, offsets, scores), 1)
    assert (soft_moments(*on(kernels, values, offsets, scores))[0][:, : k - 2] == 0).all()


@pytest.mark.parametrize("k", [6, 70])
def test_equal_scores(kernels, k):
    values, offsets, scores = case(RAGGED, k, 3)
    equal = scores._replace(weight=torch.zeros_like(scores.weight), bias=torch.ones_like(scores.bias))
    (mass,) = soft_moments(*on(kernels, values, offsets, equal))
    assert_close(mass, np.repeat(np.array(RAGGED)[:, None] / k, k, axis=1))


@pytest.mark.parametrize("k", [6, 70])
def test_large_scores_and_offsets(kernels, k):
    values, offsets, scores = case(RAGGED, k, 3, offset=4096.0)
    assert_agree(kernels, (values, offsets, scores), 2)
    large = scores._replace(weight=scores.weight * 1e4)
    mass, sums = soft_moments(*on(kernels, values, offsets, large), order=1)
    assert_close(mass.sum(1), np.array(RAGGED, dtype=np.float64))
    for got, wanted in zip((mass, sums), soft_moments(values, offsets, large, 1), strict=True):
        assert_close(got, wanted)


@pytest.mark.parametrize("scale", [1e-39, 1e-30, 1e30])
def test_extreme_units(kernels, scale):
    values, offsets, scores = case(RAGGED, 4, 3)
    scaled = scores._replace(scale=scores.scale.float() * scale)
    got = soft_moments((values * scale).float().to(kernels), *on(kernels, values, offsets, scaled)[1:], order=1)
    for a, b in zip(got, soft_moments(values, offsets, scores, 1), strict=True):
        assert_close(a, b, rtol=1e-4)


def test_the_kernels_are_launched(kernels, count_launches):
    results(*on(kernels, *case([4, 3], 130, 3)), 1)
    assert count_launches == [
        *("norms_kernel", "moments_kernel"),
        *("norms_kernel", "weight_gradient_kernel", "value_gradient_kernel"),
    ]
    count_launches.clear()
    results(*on(kernels, *case([4, 3], 5, 3)), 1)  # one block holds all codewords
    assert count_launches == ["moments_kernel", "weight_gradient_kernel", "value_gradient_kernel"]
    count_launches.clear()
    values, offsets, scores = case([4, 3], 5, 3)
    soft_moments(values.to(kernels), offsets, Scores(*(part.to(kernels) for part in scores)))
    soft_moments(values[:0].float().to(kernels), np.array([0, 0]), on(kernels, values, offsets, scores)[2])
    assert count_launches == []  # float64, and no rows


def test_a_compiled_function_calls_the_kernels(kernels, count_launches):
    values, offsets, scores = on(kernels, *case([4, 3], 5, 3))

    def mean(values):
        return soft_moments(2 * values, offsets, scores)[0] / 2

    expected = mean(values)
    assert_close(torch.compile(mean, backend="eager")(values), expected)
    assert count_launches == ["moments_kernel"] * 2


@pytest.mark.parametrize(("n", "k", "d"), [(1, 2, 1), (40, 5, 24), (600, 70, 3)])
def test_weighted_moments(kernels, n, k, d):
    values, _, scores = case([n], k, d, powers=2)
    weights = randn(n, seed=4).abs()
    data = values, weights, scores.weight / 4, scores.bias
    with computing_in("bf16"):  # statistics have the precision of float32 all the same
        got = weighted_moments(*(part.float().to(kernels) for part in data))
    for a, b in zip(got, weighted_moments(*data), strict=True):
        assert a.dtype == torch.float64
        assert_close(a, b, rtol=1e-5)


@pytest.mark.parametrize("estimator", [LearnedBoW, LearnedVLAD, LearnedFisherVector])
def test_learned_aggregation(kernels, count_launches, monkeypatch, estimator):
    """Training by kernels gives the model that training without them gives."""
    X, y = randn(6, 9, 3).float().numpy(), np.arange(6) % 2
    X[y == 1] += 0.5
    model = estimator(init=X[0, :3], max_epochs=1, batch_size=6, optimizer="sgd", random_state=0, device=kernels)
    result = model.fit(X, y).transform(X)
    assert {"moments_kernel", "weight_gradient_kernel"} <= set(count_launches)
    count_launches.clear()
    monkeypatch.setattr(_kernels, "KERNEL_DEVICES", set())
    assert_close(result, model.fit(X, y).transform(X), rtol=1e-3)
    assert count_launches == []


def test_mixture(kernels, count_launches):
    rows = torch.cat([randn(40, 3), randn(40, 3, seed=1) + 4])
    weights = randn(80, seed=2).abs()

    def fitted(rows, weights):
        generator = torch.Generator().manual_seed(0)
        return fit_mixture(Blocks(rows, weights), 2, max_iter=3, tol=0, generator=generator)

    (expected, _, expected_likelihood), (mixture, _, likelihood) = (
        fitted(rows, weights),
        fitted(rows.float().to(kernels), weights.float().to(kernels)),
    )
    assert count_launches.count("moments_kernel") == 3
    assert likelihood == pytest.approx(expected_likelihood, rel=1e-5)
    for a, b in zip(mixture, expected, strict=True):
        assert_close(a, b)
