"""Blocks of an iterable: the device and the dtype in which they are computed."""

import numpy as np
import pytest
import torch

from sklinvariant.base import ArrayKind, Input
from sklinvariant.base._block_input import read_stream
from sklinvariant.hashing import PCAHasher


class Reads:
    """Reads each block, (device, dtype), as rows of 0."""

    n_features_in_ = 2

    def _read(self, block, reset):
        device, dtype = block
        return Input(torch.zeros(1, 2, dtype=dtype), ArrayKind(np.empty(0)), torch.device(device), dtype)


def test_blocks_are_computed_on_the_first_device_in_the_widest_dtype():
    blocks = [("cpu", torch.float32), ("meta", torch.float64), ("cpu", torch.float32)]
    inputs = list(read_stream(Reads(), blocks))
    assert [given.device.type for given in inputs] == ["cpu", "cpu", "cpu"]
    assert [given.dtype for given in inputs] == [torch.float32, torch.float64, torch.float64]


def test_an_input_that_cannot_be_used_is_named():
    def check(given):
        if given.dtype == torch.float64:
            raise ValueError("no float64")

    with pytest.raises(ValueError, match="block 1 of X: no float64"):
        list(read_stream(Reads(), [("cpu", torch.float32), ("cpu", torch.float64)], check))


def test_blocks_without_values_and_iterables_of_iterables():
    X = np.random.RandomState(0).rand(9, 3)
    with pytest.raises(ValueError, match="block 1 of X: X is on the meta device"):
        PCAHasher(2).fit(iter([torch.from_numpy(X), torch.empty(4, 3, device="meta")]))
    with pytest.raises(ValueError, match="block 0 of X: X is an iterable, a iterator"):
        PCAHasher(2).fit(iter([iter(X)]))
