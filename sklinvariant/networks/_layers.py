"""Layers in float32 on the CPU, independent of torch's defaults, with torch's initialisation from a generator."""

import math
from typing import Any

import torch
from torch import nn

FLOAT32: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}


def linear(n_in: int, n_out: int, *, bias: bool = True, generator: torch.Generator | None = None) -> nn.Linear:
    """A `torch.nn.Linear` in float32 on the CPU, whatever torch's defaults are.

    Parameters
    ----------
    n_in, n_out : int
        Number of features of the input and of the output.
    bias : bool, default=True
        Whether the layer has biases.
    generator : torch.Generator or None, default=None
        Draws the weights. None is torch's global generator.

    Returns
    -------
    torch.nn.Linear
    """
    return _drawn(nn.Linear(n_in, n_out, bias, device="meta", dtype=torch.float32), generator)


def conv2d(
    n_in: int, n_out: int, kernel_size: int, *, generator: torch.Generator | None = None, **settings: Any
) -> nn.Conv2d:
    """`torch.nn.Conv2d`; generator None is torch's global generator."""
    return _drawn(nn.Conv2d(n_in, n_out, kernel_size, device="meta", dtype=torch.float32, **settings), generator)


def _drawn(layer, generator):
    """Initialise a layer that was created on the meta device, where torch draws no random numbers."""
    layer.to_empty(device="cpu")
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
