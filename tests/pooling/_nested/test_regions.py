"""Regions of a map."""

import numpy as np

from sklinvariant.pooling._nested._regions import region_grid


def test_regions():
    """The 14 squares of Tolias et al. on a square map; of a wide one, more along its width; all covered, all inside."""
    assert len(region_grid(8, 8, 3)) == 1 + 4 + 9
    for h, w in ((8, 8), (7, 12), (12, 7), (1, 5), (2, 2)):
        boxes = region_grid(h, w, 3)
        covered = np.zeros((h, w))
        for top, bottom, left, right in boxes:
            assert 0 <= top < bottom <= h
            assert 0 <= left < right <= w
            covered[top:bottom, left:right] += 1
        assert covered.min() > 0
