"""Chunks of rows and of bags."""

import numpy as np
import pytest
import torch

from sklinvariant.ops._chunks import MOST_SAMPLES, NETWORK_BYTES, concatenated, samples_at_once, split_bags, take_rows

SIZES = ([3, 0, 5, 5, 5, 60, 1, 1, 2, 0], [7] * 10, [1] * 30, [40, 40], [0, 0, 1])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("rows", [1, 4, 7, 1000])
def test_chunks_cover_each_row_once(sizes, rows):
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    chunks = list(split_bags(offsets, rows))
    covered = [row for chunk in chunks for row in range(chunk.start, chunk.stop)]
    assert covered == list(range(offsets[-1]))
    assert all(chunk.stop - chunk.start <= rows for chunk in chunks)
    for chunk in chunks:
        if chunk.size:
            assert chunk.size * (chunk.last - chunk.first) == chunk.stop - chunk.start


def test_copies_to_the_cpu_are_complete_when_they_are_returned():
    """A copy from a GPU with ``non_blocking=True`` could be read before its values have arrived."""

    class Spied(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is torch.Tensor.to:
                asked.append(kwargs["non_blocking"])
            return super().__torch_function__(function, types, args, kwargs or {})

    asked = []
    take_rows(torch.arange(6.0).view(3, 2).as_subclass(Spied), 0, 2, torch.zeros(1))
    assert asked == [False]


@pytest.mark.parametrize("size", [1, 3, 10, 20])
@pytest.mark.parametrize("shape", [(10,), (10, 2, 3), (0, 4)])
def test_concatenated_parts(size, shape):
    values = torch.arange(np.prod(shape), dtype=torch.int16).reshape(shape)
    joined = concatenated((part + 1 for part in values.split(size)), len(values))
    assert joined.dtype == torch.int16
    np.testing.assert_array_equal(joined, values + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_processes_as_many_samples_as_fit(dtype):
    assert samples_at_once(1, dtype, "cpu") == MOST_SAMPLES
    assert samples_at_once(10**5, dtype, "cpu") == NETWORK_BYTES // (10**5 * dtype.itemsize)
    assert samples_at_once(10**10, dtype, "cpu") == 1
