"""Asymmetric distances against their definition."""

import numpy as np
from tolerance import assert_close

from sklinvariant.neighbors._vectors._asymmetric import asymmetric_distances


def test_distances_are_sums_over_the_bits_that_differ():
    rng = np.random.RandomState(0)
    projections, bits = rng.normal(size=11), rng.randint(2, size=(20, 11))
    expected = [sum(abs(p) for p, bit in zip(projections, row, strict=True) if (p > 0) != bit) for row in bits]
    assert_close(asymmetric_distances(projections, np.packbits(bits, axis=1)), expected)


def test_distances_order_codes_by_their_inner_product_with_the_projections():
    rng = np.random.RandomState(1)
    projections, bits = rng.normal(size=16), rng.randint(2, size=(50, 16))
    products = (2 * bits - 1) @ projections
    distances = asymmetric_distances(projections, np.packbits(bits, axis=1))
    assert_close(distances, (np.abs(projections).sum() - products) / 2)


def test_projections_of_one_give_the_hamming_distance():
    bits = np.random.RandomState(2).randint(2, size=(30, 24))
    distances = asymmetric_distances(2.0 * bits[0] - 1, np.packbits(bits, axis=1))
    assert_close(distances, (bits != bits[0]).sum(1))
