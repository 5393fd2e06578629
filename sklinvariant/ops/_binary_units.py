"""Binary units: the probabilities that they are on, and states drawn with a counter-based random generator.

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011. Parallel random numbers: as easy as 1, 2, 3). A random
number is a function of the seed, the number of the draw, the row and the column. It is the same on every device, in
each order of computation, and whichever process computes the row.
"""

from typing import NamedTuple

import torch

from sklinvariant._docstrings import documented_by
from sklinvariant._settings import in_own_precision
from sklinvariant.ops import _kernels
from sklinvariant.ops._kernels import has_kernel

_WORD = 0xFFFFFFFF
_ROUNDS = 10
_FACTORS = 0xD2511F53, 0xCD9E8D57
_STEPS = 0x9E3779B9, 0xBB67AE85


class Draw(NamedTuple):
    """What identifies the random numbers of a matrix. Equal draws give the same numbers on every device.

    Parameters
    ----------
    seed : int
        The seed.
    number : int
        The number of the draw. Draws of the same seed with other numbers are independent.
    first_row : int, default=0
        The number of the first row of the matrix, if it is a part of a larger one.
    """

    seed: int
    number: int
    first_row: int = 0


def counts_draws(device: torch.device) -> bool:
    """Whether states are drawn by counters on this device: on those that kernels run on.

    Parameters
    ----------
    device : torch.device
        Device of the units.

    Returns
    -------
    bool
    """
    return device.type in _kernels.KERNEL_DEVICES


@in_own_precision
def draw_units(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Probabilities of binary units, and states that are 1 with these probabilities.

    For rows x, weights W and biases c, the probabilities are :math:`\sigma(x W^T + c)` with the sigmoid σ.

    Parameters
    ----------
    x : tensor of shape (n, d)
        Rows, which are converted to the dtype of the weights.
    weight : tensor of shape (b, d)
        Weights W.
    bias : tensor of shape (b,)
        Biases c.
    draw : Draw
        Identifies the random numbers.

    Returns
    -------
    probabilities : tensor of shape (n, b)
        In the dtype of the weights.
    states : tensor of shape (n, b)
        Zeros and ones in the same dtype.
    """
    if len(x) and has_kernel(x, weight, bias):
        from sklinvariant.ops.gpu._binary_units import draw_units as kernel

        return kernel(x, weight, bias, draw)
    probabilities = torch.addmm(bias, x.to(weight.dtype), weight.T).sigmoid_()
    return probabilities, _states(probabilities, draw)


@documented_by(draw_units)
def draw_states(probabilities: torch.Tensor, draw: Draw) -> torch.Tensor:
    """States that are 1 with the given probabilities, otherwise 0.

    Parameters
    ----------
    probabilities : tensor of shape (n, b)
        The probabilities.

    Returns
    -------
    tensor of shape (n, b)
        In the dtype of the probabilities.
    """
    if len(probabilities) and has_kernel(probabilities):
        from sklinvariant.ops.gpu._binary_units import draw_states as kernel

        return kernel(probabilities, draw)
    return _states(probabilities, draw)


def _states(probabilities, draw):
    n, b = probabilities.shape
    return (counted_uniform(n, b, draw, probabilities.device) < probabilities).to(probabilities.dtype)


def counted_uniform(n: int, b: int, draw: Draw, device: str | torch.device = "cpu") -> torch.Tensor:
    """Uniform random numbers in [0, 1), multiples of 2⁻²⁴: (n, b) float32."""
    rows = torch.arange(draw.first_row, draw.first_row + n, device=device)
    counter = torch.arange(b, device=device), rows[:, None], draw.number, 0
    first, *_ = philox(counter, (draw.seed & _WORD, draw.seed >> 32 & _WORD))
    return (first >> 8).float() * 2.0**-24


def philox(counter: tuple, key: tuple[int, int]) -> tuple:
    """Philox4x32-10: four random words from a counter of four words, each a tensor int64 or an int, and a key.

    Products of 64 bits overflow; their halves are right all the same.
    """
    c0, c1, c2, c3 = (torch.as_tensor(word, device=counter[0].device) & _WORD for word in counter)
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = _FACTORS[0] * c0, _FACTORS[1] * c2
        c0, c1 = (second >> 32 & _WORD) ^ c1 ^ k0, second & _WORD
        c2, c3 = (first >> 32 & _WORD) ^ c3 ^ k1, first & _WORD
        k0, k1 = k0 + _STEPS[0] & _WORD, k1 + _STEPS[1] & _WORD
    return c0, c1, c2, c3
