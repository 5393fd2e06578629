"""The mean of a module against a loop over bags."""

import numpy as np
import pytest
import torch

from sklinvariant.networks import MeanEncoder


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_the_mean_of_a_module(as_input, units, bags, chunk_size):
    encoder = MeanEncoder(lambda x: torch.cat([x, x.square()], dim=1), units, torch.float64, chunk_size)
    rows = encoder(encoder.prepare(as_input(bags), "cpu"))
    for bag, row in zip(bags, rows, strict=True):
        z = (bag - units.shift) / units.scale
        expected = np.concatenate([z, z**2], axis=1).sum(0) / max(len(bag), 1)
        np.testing.assert_allclose(row, expected, atol=1e-12)
