"""Layers in float32 on the CPU, whatever torch's defaults are, whose weights a generator draws as torch would."""

import math

import torch
from torch import nn

FLOAT32 = {"device": "cpu", "dtype": torch.float32}


def linear(n_in, n_out, *, bias=True, generator=None):
    """`torch.nn.Linear`; a generator of None is torch's global one."""
    return _drawn(nn.Linear(n_in, n_out, bias, device="meta", dtype=torch.float32), generator)


def conv2d(n_in, n_out, kernel_size, *, generator=None, **settings):
    """`torch.nn.Conv2d`; a generator of None is torch's global one."""
    return _drawn(nn.Conv2d(n_in, n_out, kernel_size, device="meta", dtype=torch.float32, **settings), generator)


def _drawn(layer, generator):
    """A layer made on the meta device, where torch draws nothing, with torch's initial weights on the CPU."""
    layer.to_empty(device="cpu")
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
