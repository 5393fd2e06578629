"""Philox against its published values, and the states of binary units against their probabilities."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.ops._binary_units import Draw, counted_uniform, draw_states, draw_units, philox


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_values(counter, key, expected):
    """The known answers of Random123, the authors' implementation."""
    words = philox(tuple(torch.tensor([word]) for word in counter), key)
    assert tuple(int(word) for word in words) == expected


def test_numbers_are_uniform():
    numbers = counted_uniform(400, 500, Draw(3, 7)).double().numpy()
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    share = np.histogram(numbers, 20, (0, 1))[0] / numbers.size
    assert np.abs(share - 0.05).max() < 0.003  # six standard deviations
    for shifted in (numbers[1:, 1:], numbers[:-1, 1:], numbers[1:, :-1]):
        assert abs(np.corrcoef(numbers[: len(shifted), : shifted.shape[1]].ravel(), shifted.ravel())[0, 1]) < 0.015


def test_numbers_depend_on_seed_draw_row_and_column():
    numbers = counted_uniform(4, 6, Draw(3, 7))
    for other in (Draw(4, 7), Draw(3 + 2**32, 7), Draw(3, 8), Draw(3, 7, 4)):
        assert (counted_uniform(4, 6, other) != numbers).all()
    assert len(numbers.unique()) == 24
    assert counted_uniform(2, 5, Draw(3, 7, 1)).equal(numbers[1:3, :5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_have_the_probabilities(dtype):
    probabilities = torch.linspace(0, 1, 11, dtype=dtype).repeat(20_000, 1)
    states = draw_states(probabilities, Draw(0, 0))
    assert states.dtype == dtype
    assert set(states.unique().tolist()) == {0.0, 1.0}
    assert_close(states.mean(0), probabilities[0], atol=0.02, rtol=0)
    assert (states[:, 0] == 0).all()
    assert (states[:, -1] == 1).all()


def test_units(global_random_seed):
    generator = torch.Generator().manual_seed(global_random_seed)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((30, 5), (7, 5), (7,)))
    probabilities, states = draw_units(x, weight, bias, Draw(1, 2, 3))
    assert_close(probabilities, (x.double() @ weight.double().T + bias).sigmoid())
    assert states.equal((counted_uniform(30, 7, Draw(1, 2, 3)) < probabilities).float())
    part = draw_units(x[10:], weight, bias, Draw(1, 2, 13))[1]
    assert part.equal(states[10:])
