"""Kernels of binary units against the torch reference."""

import pytest
import torch
from tolerance import assert_close

from sklinvariant import _distributed
from sklinvariant._precision import computing_in
from sklinvariant.hashing._rbm import RestrictedBoltzmannMachine
from sklinvariant.ops import _kernels
from sklinvariant.ops._binary_units import Draw, counted_uniform, draw_states, draw_units

SHAPES = [(1, 1, 1), (3, 70, 24), (40, 5, 3), (33, 65, 128), (20, 3, 513)]  # (n, b, d)
DRAW = Draw(2**31 - 2, 5, 1000)


def units(n, b, d, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((n, d), (b, d), (b,)))
    return x.to(dtype), weight / d**0.5, bias


def assert_units(kernels, x, weight, bias, rtol=None):
    probabilities, states = draw_units(x.to(kernels), weight.to(kernels), bias.to(kernels), DRAW)
    assert probabilities.dtype == states.dtype == torch.float32
    assert_close(probabilities, (x.double() @ weight.double().T + bias).sigmoid(), rtol=rtol)
    uniform = counted_uniform(*states.shape, DRAW)
    assert states.cpu().equal((uniform < probabilities.cpu()).float())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_units(kernels, count_launches, shape, precision):
    with computing_in(precision):
        assert_units(kernels, *units(*shape), rtol=1e-5 if precision == "float32" else 2e-2)
    assert count_launches[-1] == ("_draw_kernel" if precision == "float32" else "_units_kernel")


def test_units_of_half_precision(kernels, count_launches):
    assert_units(kernels, *units(20, 9, 24, torch.bfloat16), rtol=2e-2)
    assert_units(kernels, *units(20, 9, 24, torch.float16), rtol=1e-3)
    assert count_launches[-2:] == ["_units_kernel", "_draw_kernel"]


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_transposed_weights(kernels, precision):
    x, weight, bias = units(20, 9, 24)
    with computing_in(precision):
        assert_units(kernels, x, weight.T.contiguous().T, bias, rtol=1e-5 if precision == "float32" else 2e-2)


def test_large_blocks(kernels, monkeypatch):
    from sklinvariant.ops.gpu import _binary_units

    monkeypatch.setattr(_binary_units, "PROGRAMS", 1)
    with computing_in("tf32"):
        assert_units(kernels, *units(130, 140, 40), rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states(kernels, dtype):
    probabilities = torch.rand(50, 70, generator=torch.Generator().manual_seed(0)).to(dtype)
    probabilities[0], probabilities[1] = 0, 1
    states = draw_states(probabilities.to(kernels), DRAW)
    assert states.dtype == dtype
    assert states.cpu().equal((counted_uniform(50, 70, DRAW) < probabilities).to(dtype))
    assert draw_states(probabilities[:0].to(kernels), DRAW).shape == (0, 70)


def test_seeds_of_64_bits(kernels):
    probabilities = torch.full((20, 30), 0.5, device=kernels)
    for draw in (Draw(2**40 + 3, 2**20), Draw(0, 0), Draw(1, 1, 1)):
        assert draw_states(probabilities, draw).cpu().equal((counted_uniform(20, 30, draw) < 0.5).float())


def machine(device, **options):
    _, weight, bias = units(1, 9, 12)
    generator = torch.Generator(device).manual_seed(3)
    parameters = (value.to(device) for value in (weight, bias, torch.linspace(-1, 1, 12)))
    return RestrictedBoltzmannMachine(*parameters, generator=generator, **options)


@pytest.mark.parametrize("visible", ["real", "binary"])
@pytest.mark.parametrize("persistent", [False, True])
def test_steps_of_a_machine(kernels, count_launches, monkeypatch, visible, persistent):
    """The kernels and the reference draw the same states, so that they learn the same."""
    options = {"visible": visible, "persistent": persistent, "cd_steps": 2}
    v = torch.rand(30, 12, generator=torch.Generator().manual_seed(1)).to(kernels)
    learned = []
    for works in (True, False):
        monkeypatch.setattr(_kernels, "_kernels_work", lambda device, works=works: works)
        model = machine(kernels, **options)
        errors = [model.learn(v, 0.1, 0.5) for _ in range(3)]
        learned.append([*model.parameters(), torch.stack(errors)])
        assert "_draw_kernel" in count_launches
    n_launches = len(count_launches)
    assert n_launches == model.draws
    for mine, theirs in zip(*learned, strict=True):
        assert_close(mine, theirs, rtol=1e-5)


def test_a_machine_continues_from_its_state(kernels):
    v = torch.rand(20, 12, generator=torch.Generator().manual_seed(1)).to(kernels)
    whole, first, second = (machine(kernels, visible="binary") for _ in range(3))
    for _ in range(2):
        whole.learn(v, 0.1)
    first.learn(v, 0.1)
    second.load_state_dict(first.state_dict())
    second.learn(v, 0.1)
    for mine, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert mine.equal(theirs)
    assert not first.weight.equal(second.weight)


def test_processes_that_share_a_batch_draw_its_states(kernels, monkeypatch):
    probabilities = torch.rand(10, 7, generator=torch.Generator().manual_seed(1)).to(kernels)
    whole = machine(kernels).draw(probabilities)
    for rows in (slice(0, 4), slice(4, 10)):
        monkeypatch.setattr(_distributed._local, "share", _distributed._Share(None, rows, 10))
        assert machine(kernels).draw(probabilities[rows]).equal(whole[rows])
