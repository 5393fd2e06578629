"""What all kinds of scattered rows share: they are used like a tensor."""

import numpy as np
import pytest
import torch

from sklinvariant.base import ScatteredRows

ROWS = torch.arange(12.0).view(6, 2)


class HereRows(ScatteredRows):
    """Rows that are not scattered."""

    def __init__(self, rows):
        super().__init__([len(rows)], rows[:0], 0.0, 11.0)
        self.rows = rows

    def chosen(self, index):
        assert (np.diff(index) >= 0).all()
        return HereRows(self.rows[index])

    def gathered(self, function):
        return function(self.rows)


@pytest.mark.parametrize("index", [2, slice(1, 4), np.array([5, 0, 0]), torch.tensor([3, 1]), slice(2, 2), -1])
def test_rows_by_index(index):
    np.testing.assert_array_equal(HereRows(ROWS)[index], ROWS[index])


def test_attributes_of_a_tensor():
    rows = HereRows(ROWS)
    assert (len(rows), rows.shape, rows.dtype, rows.is_floating_point()) == (6, (6, 2), torch.float32, True)
    assert (float(rows.min()), float(rows.max())) == (0, 11)
    np.testing.assert_array_equal(rows.amin(1), ROWS.amin(1))
    assert rows.to(torch.float64).dtype == torch.float64
