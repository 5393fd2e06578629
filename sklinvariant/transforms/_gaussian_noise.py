"""Noise that is a function of its parameters: the same seed gives the same noise, in whatever batch, on any device."""

from __future__ import annotations

import torch

from sklinvariant.base import NonNegative, declared
from sklinvariant.images import scale_pixels
from sklinvariant.transforms._transform import Transform

_SEEDS = 2.0**31


def scrambled(x):
    """31-bit numbers to 31-bit numbers, one to one and without pattern (shift, xor and multiply, twice)."""
    mask = 0x7FFFFFFF
    for factor in (0x45D9F3B, 0x2C1B3C6D):
        x = ((x ^ (x >> 15)) * factor) & mask
    return x ^ (x >> 15)


def normal_numbers(seeds, count):
    """(n, count) standard normal float32 numbers, each row from its seed by counting (Box and Muller 1958)."""
    counter = scrambled(torch.arange(count, device=seeds.device))
    first = scrambled(counter ^ scrambled(seeds)[:, None])
    second = scrambled((first + counter + 0x5BD1E995) & 0x7FFFFFFF)
    radius = (-2 * ((first + 1).double() / _SEEDS).log()).sqrt()
    return (radius * torch.cos(2 * torch.pi * second.double() / _SEEDS)).float()


@declared
class GaussianNoise(Transform):
    """Independent normal noise on every value. Its parameters are the standard deviation and a seed.

    Parameters
    ----------
    sigma : float
        Largest standard deviation; the range of an image is 1. Those of a sample lie between 0 and this.
    """

    sigma: NonNegative = 0.1

    def _bounds(self):
        return torch.tensor([[0, self.sigma], [0, _SEEDS]], dtype=torch.float64)

    def _apply(self, images, params, size=None):
        images = scale_pixels(images)
        params = params.expand(len(images), 2)
        seeds = torch.remainder(params[:, 1].floor(), _SEEDS).long().to(images.device)
        noise = normal_numbers(seeds, images[0].numel()).reshape(images.shape)
        return images + noise.to(images) * params[:, 0].to(images)[:, None, None, None]
