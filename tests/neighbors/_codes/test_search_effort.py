"""The recall of an approximate search, and the effort that reaches it."""

import numpy as np
import pytest

from sklinvariant.neighbors._codes import _search_effort
from sklinvariant.neighbors._codes._search_effort import least_effort, noisy_sample, recall_by_distance


def test_recall_counts_ties():
    exact = np.array([[1, 2, 2], [0, 0, 5]])
    assert recall_by_distance(np.array([[2, 2, 2], [0, 6, 7]]), exact).tolist() == [1, 1 / 3]


@pytest.mark.parametrize("most_permuted", [10, 1 << 20])
def test_the_sample_holds_kept_codes_with_few_bits_flipped(most_permuted, global_random_seed, monkeypatch):
    monkeypatch.setattr(_search_effort, "_PERMUTED", most_permuted)
    rng = np.random.RandomState(global_random_seed)
    codes, kept = np.zeros((2000, 8), np.uint8), np.arange(0, 2000, 2)
    codes[kept] = 255
    for rows, bit in ((kept, 1), (None, 0.5)):
        sample = noisy_sample(codes, rows, rng.randint(100))
        assert sample.shape == (256, 8)
        share = np.unpackbits(sample).mean()
        assert abs(share - bit) < (0.03 if rows is not None else 0.15)
    np.testing.assert_array_equal(noisy_sample(codes, None, 3), noisy_sample(codes, None, 3))
    assert len(noisy_sample(codes[:5], None, 0)) == 5


def test_the_least_effort_that_is_enough():
    exact = np.tile([0, 1, 2], (4, 1))

    def candidates(effort):  # finds one more neighbour with each effort
        distances = np.tile([0, 1, 2], (4, 1))
        return distances, np.tile(np.arange(3) < effort, (4, 1))

    assert least_effort(candidates, exact, [1, 2, 3, 4], 0.9) == (3, 1.0, True)
    assert least_effort(candidates, exact, [1, 2], 0.9) == (2, 0.5, False)
    assert least_effort(candidates, None, [4, 8], 0.9) == (4, 1.0, True)
