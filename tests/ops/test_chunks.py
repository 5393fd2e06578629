"""Chunks of rows and of bags."""

import numpy as np
import pytest

from sklinvariant.ops._chunks import split_bags

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
