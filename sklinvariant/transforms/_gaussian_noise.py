"""Noise as a function of its parameters: the same seed gives the same noise in every batch and on every device."""

from __future__ import annotations

import torch

from sklinvariant.base import NonNegative, declared
from sklinvariant.images import scale_pixels
from sklinvariant.transforms._transform import Transform

_SEEDS = 2.0**31


def integer_hash(x: torch.Tensor) -> torch.Tensor:
    """A hash that permutes the 31-bit integers: two rounds of shift, xor and multiplication."""
    mask = 0x7FFFFFFF
    for factor in (0x45D9F3B, 0x2C1B3C6D):
        x = ((x ^ (x >> 15)) * factor) & mask
    return x ^ (x >> 15)


def normal_numbers(seeds: torch.Tensor, count: int) -> torch.Tensor:
    """(n, count) standard normal float32 numbers from a seed for each row and a counter (Box and Muller 1958)."""
    counter = integer_hash(torch.arange(count, device=seeds.device))
    first = integer_hash(counter ^ integer_hash(seeds)[:, None])
    second = integer_hash((first + counter + 0x5BD1E995) & 0x7FFFFFFF)
    radius = (-2 * ((first + 1).double() / _SEEDS).log()).sqrt()
    return (radius * torch.cos(2 * torch.pi * second.double() / _SEEDS)).float()


@declared
class GaussianNoise(Transform):
    """Add independent normal noise to each value. Its parameters are the standard deviation and a seed.

    Parameters
    ----------
    sigma : float
        Largest standard deviation. It is sampled uniformly between 0 and this value; images have the range 0-1.
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
