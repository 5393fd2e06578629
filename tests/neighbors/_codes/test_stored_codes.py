"""Memory that grows with added codes, and ids of stored codes."""

import numpy as np
import pytest

from sklinvariant.neighbors._codes import _stored_codes
from sklinvariant.neighbors._codes._stored_codes import GrowingRows, check_ids, rows_of_ids


@pytest.mark.parametrize("width", [(), (3,)])
def test_rows_grow_as_a_concatenation(width, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    growing, rows = GrowingRows(), rng.randint(9, size=(4, *width))
    expected, earlier = rows.copy(), []
    for size in (1, 0, 2, 30, 1, 1):
        added = rng.randint(9, size=(size, *width))
        earlier.append((rows, expected))
        rows, expected = growing.extended(rows, added), np.concatenate([expected, added])
        np.testing.assert_array_equal(rows, expected)
    for before, values in earlier:  # which may be in use still
        np.testing.assert_array_equal(before, values)


def test_few_additions_copy_what_was_stored():
    growing, rows, memories = GrowingRows(), np.zeros((1, 8), np.uint8), set()
    for _ in range(1000):
        rows = growing.extended(rows, np.zeros((10, 8), np.uint8))
        memories.add(rows.ctypes.data)
    assert len(rows) == 10_001
    assert len(memories) < 40


def test_rows_that_were_not_kept_are_not_overwritten():
    """An addition that failed left its rows in the memory; the next one begins where it began."""
    growing = GrowingRows()
    rows = growing.extended(np.zeros(3), np.ones(10))
    lost = growing.extended(rows, np.full(1, 7.0))
    again = growing.extended(rows, np.full(1, 8.0))
    assert (lost[-1], again[-1]) == (7, 8)
    np.testing.assert_array_equal(again[:-1], rows)


@pytest.mark.parametrize("with_ids", [False, True])
def test_rows_of_ids_are_those_of_a_loop(with_ids, global_random_seed, monkeypatch):
    monkeypatch.setattr(_stored_codes, "_BLOCK", 7)
    rng = np.random.RandomState(global_random_seed)
    ids = rng.permutation(60)[:40] - 5 if with_ids else None
    removed = rng.rand(40) < 0.3
    stored = (ids if with_ids else np.arange(40)).tolist()
    for wanted in (rng.permutation(90)[:30] - 20, np.empty(0, dtype=np.int64), np.array([1000])):
        for mask in (None, removed):
            rows = rows_of_ids(wanted, ids, mask, 40)
            expected = [i for i in range(40) if stored[i] in wanted.tolist() and (mask is None or not mask[i])]
            assert sorted(rows.tolist()) == expected


def test_ids_continue_and_must_fit():
    assert check_ids(None, 3, 5) == (None, 8)
    ids, following = check_ids([7, 2], 2, 0)
    assert (ids.tolist(), following) == ([7, 2], 8)
    with pytest.raises(ValueError, match="continues after the largest id, 9223372036854775805"):
        check_ids(None, 2, 2**63 - 2)
    with pytest.raises(ValueError, match="ids contains 4 3 times"):
        check_ids([4, 1, 4, 4], 4, 0)
