"""Kinds of X that are not arrays."""

import numpy as np
import pytest
import torch

from sklinvariant import DescriptorSets
from sklinvariant.base import is_bags, is_stream
from sklinvariant.datasets import read_blocks

ROWS = np.zeros((3, 2))


def test_streams(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    for X in ((part for part in [ROWS]), iter([ROWS]), map(np.asarray, [ROWS]), {1: ROWS}.values()):
        assert is_stream(X)
    assert is_stream(read_blocks(tmp_path))
    assert is_stream(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(3, 2))))
    for X in (ROWS, [ROWS], (ROWS,), torch.zeros(3, 2), DescriptorSets(ROWS, [0, 3]), None, "text"):
        assert not is_stream(X)


def test_tables_and_dask_are_no_streams():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    assert not is_stream(pandas.DataFrame(ROWS))
    assert not is_stream(da.from_array(ROWS))


def test_bags():
    assert is_bags(DescriptorSets(ROWS, [0, 3]))
    assert not any(map(is_bags, (ROWS, [ROWS], torch.zeros(3, 2), iter([ROWS]))))
