"""Nearest neighbours: exact, and found in inverted lists."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from sklinvariant.pairs import _nearest_partners, nearest_partners
from sklinvariant.pairs._nearest_partners import nearest_others, row_codes


@pytest.fixture
def in_lists(monkeypatch):
    pytest.importorskip("faiss", reason="faiss is not installed")
    monkeypatch.setattr(_nearest_partners, "_MOST_EXACT", 10)
    monkeypatch.setattr(_nearest_partners, "_CALL", 300)


def test_neighbours_are_others():
    rows = torch.tensor([[0.0], [0.0], [1.0], [10.0]])
    partners = nearest_partners(rows, 2)
    assert not (partners == torch.arange(4)[:, None]).any()
    assert partners[3].tolist() == [2, *partners[3, 1:].tolist()]
    assert nearest_partners(rows, 99).shape == (4, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lists_contain_most_neighbours(in_lists, monkeypatch, global_random_seed, dtype):
    rows = make_blobs(1000, 24, centers=10, cluster_std=3, random_state=global_random_seed)[0].astype(dtype)
    found = nearest_others(rows, 5)
    np.testing.assert_array_equal(found, nearest_others(rows, 5))
    monkeypatch.undo()
    exact = nearest_others(rows, 5)
    shared = [len(set(few) & set(true)) for few, true in zip(found.tolist(), exact.tolist(), strict=True)]
    assert np.mean(shared) >= 0.94 * 5
    assert not (found == np.arange(1000)[:, None]).any()


def test_rows_nearly_as_near_are_enough(in_lists, monkeypatch, global_random_seed):
    """In a cloud without structure, rows that are hardly farther away than the nearest are found in a few lists."""
    rows = np.random.RandomState(global_random_seed).normal(size=(3000, 48)).astype(np.float32)

    def neighbours_and_lengths():
        found = nearest_others(rows, 5)
        return np.sort(found), np.linalg.norm(rows[found] - rows[:, None], axis=2).mean()

    few, length = neighbours_and_lengths()
    monkeypatch.setattr(_nearest_partners, "_MOST_EXCESS", 0)
    most, _ = neighbours_and_lengths()
    monkeypatch.undo()
    all_, shortest = neighbours_and_lengths()
    assert (few == all_).mean() < (most == all_).mean()
    assert shortest < length < 1.012 * shortest  # measured on a third of the rows


@pytest.mark.parametrize(
    ("changes", "enough"),
    [
        ({}, True),
        ({"lengths": 1.009}, True),
        ({"lengths": 1.011}, False),
        ({"lengths": 1.5, "some": 10}, True),  # in 1 % of the rows
        ({"lengths": 1e9, "some": 10}, True),
        ({"lengths": 1.5, "some": 300}, False),
        ({"lengths": 1.5, "some": 300, "scale": 1e-9}, False),  # rows near together count as much as others
        ({"missing": 300}, False),
        ({"equal": True}, True),
        ({"equal": True, "apart": 0.1}, False),
    ],
)
def test_near_enough(changes, enough):
    """For 1,000 rows with five neighbours each, at the squared distances 4 to 25, the row itself included."""
    some = changes.get("some", 1000)
    exact = np.tile(np.arange(1.0, 6) ** 2 * (not changes.get("equal")), (1000, 1))
    exact[:some] *= changes.get("scale", 1)
    exact[:, 0] = 0
    distances, found = exact.copy(), np.zeros((1000, 5), dtype=int)
    distances[:some] = distances[:some] * changes.get("lengths", 1) ** 2
    distances[:, 1:] += changes.get("apart", 0)
    found[: changes.get("missing", 0), -1] = -1
    assert _nearest_partners._near_enough(exact, distances, found) == enough


def test_lists_of_equal_rows(in_lists):
    rows = np.repeat(np.eye(4, 6), 50, axis=0)
    found = nearest_others(rows, 3)
    assert (found // 50 == np.arange(200)[:, None] // 50).all()
    assert not (found == np.arange(200)[:, None]).any()


def test_a_row_that_finds_itself_does_not_count_as_a_neighbour():
    """With one list, 96 % of the rows and their neighbours are found, but only 92 % of the neighbours."""
    faiss = pytest.importorskip("faiss")
    rows = np.random.RandomState(0).normal(size=(1000, 4)).astype(np.float32)

    class Index:
        nprobe, nlist = 1, 8

        def search(self, x, k):
            distances, found = faiss.knn(x, rows, k)
            found[::12, 1] = -1 if self.nprobe == 1 else found[::12, 1]
            return distances, found

    index = Index()
    _nearest_partners._find_effort(index, rows, 2)
    assert index.nprobe == 2


@pytest.mark.parametrize("incomplete", [False, True])
def test_rows_missing_in_lists_are_searched_exactly(in_lists, monkeypatch, incomplete):
    """A search answers -1 where the visited lists have too few rows."""
    faiss = pytest.importorskip("faiss")
    search, rows = faiss.IndexIVFFlat.search, np.random.RandomState(0).normal(size=(400, 8)).astype(np.float32)

    def reaching_little(self, x, k):
        distances, found = search(self, x, k)
        if incomplete:
            found[::50, -1] = -1  # 98 % are found
        else:
            found[:] = -1
        return distances, found

    monkeypatch.setattr(faiss.IndexIVFFlat, "search", reaching_little)
    found = nearest_others(rows, 5)
    monkeypatch.undo()
    exact = nearest_others(rows, 5)
    part = slice(0, 300, 50) if incomplete else slice(None)
    np.testing.assert_array_equal(np.sort(found[part]), np.sort(exact[part]))


def test_auxiliary_samples_are_no_neighbours_in_lists(in_lists):
    samples = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    auxiliary = torch.arange(200) % 3 == 0
    assert not auxiliary[nearest_partners(samples, 4, auxiliary)[~auxiliary]].any()


def test_many_neighbours_in_lists(in_lists):
    """So many that several lists, or all of them, are visited."""
    rows = np.random.RandomState(0).rand(600, 2)
    assert nearest_others(rows, 550).shape == (600, 550)
    assert np.sort(nearest_others(rows, 599)).tolist() == [[j for j in range(600) if j != i] for i in range(600)]


@pytest.mark.parametrize("unit", [1e-60, 1e60])
def test_lists_of_rows_beyond_float32(in_lists, unit):
    rows = np.random.RandomState(0).normal(size=(400, 4))
    found, expected = nearest_others(rows * unit, 5), nearest_others(rows, 5)
    assert (np.sort(found) == np.sort(expected)).mean() > 0.99
    assert (nearest_others(rows * 0, 5) >= 0).all()


def test_clusters_that_lie_apart(in_lists):
    """A graph does not connect them."""
    rows, y = make_blobs(2000, 8, centers=40, cluster_std=0.1, random_state=0)
    found = nearest_others(rows, 10)
    assert (y[found] == y[:, None]).mean() > 0.99


def test_few_rows_and_no_faiss_are_searched_exactly(monkeypatch):
    def refuse(rows, k):
        raise AssertionError("lists were built")

    monkeypatch.setattr(_nearest_partners, "_list_search", refuse)
    rows = np.arange(40.0)[:, None] ** 2
    expected = np.abs(np.arange(40) - 1)
    np.testing.assert_array_equal(nearest_others(rows, 1)[1:, 0], expected[1:])
    monkeypatch.setattr(_nearest_partners, "_MOST_EXACT", 10)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    np.testing.assert_array_equal(nearest_others(rows, 1)[1:, 0], expected[1:])


def _values_of_neighbours(rows, n_clusters, k=10):
    return rows[nearest_partners(rows, k, n_clusters=n_clusters)].squeeze(2)


def test_at_most_half_a_cluster(global_random_seed):
    """Most neighbours of a sample would otherwise be in other clusters."""
    rows = torch.randn(90, 3, generator=torch.Generator().manual_seed(global_random_seed))
    shapes = {n: nearest_partners(rows, 10, n_clusters=n).shape[1] for n in (1, 4, 5, 9, 15, 90)}
    assert shapes == {1: 10, 4: 10, 5: 9, 9: 5, 15: 3, 90: 2}
    auxiliary = torch.arange(90) >= 60
    assert nearest_partners(rows, 10, auxiliary, n_clusters=5).shape == (90, 6)


def test_copies_count_as_one_neighbour():
    """50 rows of each of the numbers 0 to 39: a row is paired with rows of its own number and of the four nearest."""
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(40.0).repeat(50)[order][:, None]
    partners = nearest_partners(rows, 4, n_clusters=3)
    assert not (partners == torch.arange(2000)[:, None]).any()
    inner = ((rows >= 2) & (rows <= 37)).squeeze(1)
    differences, numbers = (rows[partners].squeeze(2) - rows)[inner].unique(return_counts=True)
    assert differences.tolist() == [-2, -1, 0, 1, 2]
    assert (abs(numbers / numbers.sum() - 0.2) < 0.01).all()
    # all rows of a number are found, not one that stands for them
    found = partners.flatten().bincount(minlength=2000)[inner]
    assert found.min() >= 1
    assert found.max() <= 12


def test_rare_values_are_rare_neighbours():
    """Between 2 × 90 rows of two values and their two bridges, few walks cross."""
    rows = torch.tensor([0.0] * 90 + [0.5] + [9.0] * 90 + [9.5] + list(range(100, 120)))[:, None]
    partners = nearest_partners(rows, 2, n_clusters=3)
    for some in (slice(0, 90), slice(91, 181)):
        assert (rows[partners[some]].squeeze(2) == rows[some]).double().mean() > 0.9


def test_the_same_number_of_copies_changes_nothing(global_random_seed):
    """Ten copies of each row have neighbours with the values that a single row has, or their own."""
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(global_random_seed))
    few = nearest_partners(rows, 5, n_clusters=3)
    many = nearest_partners(rows.repeat_interleave(10, 0), 5, n_clusters=3) // 10
    allowed = torch.cat([few, torch.arange(60)[:, None]], 1).repeat_interleave(10, 0)
    assert (many[:, :, None] == allowed[:, None]).any(2).all()


def test_copies_and_the_default_dtype():
    rows = (torch.arange(20_000) ** 2 % 41 / 8)[:, None].float()
    expected = nearest_partners(rows, 5, n_clusters=2)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(nearest_partners(rows, 5, n_clusters=2), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_copies_of_auxiliary_samples():
    """The number of neighbours is that of the samples that are not auxiliary, which may have fewer values."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.cat(
        [torch.randint(5, (200, 2), generator=rng), torch.randint(9, (100, 3), generator=rng)[:, :2]]
    ).float()
    auxiliary = torch.arange(300) >= 200
    partners = nearest_partners(rows, 10, auxiliary, n_clusters=3)
    assert partners.shape == (300, 4)  # half of 25 values in 3 clusters
    assert not auxiliary[partners[:200]].any()
    few = nearest_partners(torch.cat([torch.zeros(200, 2), rows[200:]]), 10, auxiliary, n_clusters=3)
    assert few.shape == (300, 10)


@pytest.mark.parametrize("copies", [2, 3, 5, 200])
def test_rows_of_a_remote_value_are_neighbours(copies):
    """Blank images, for example. They have as many other neighbours as there are too few copies."""
    rows = torch.cat([torch.linspace(0, 1, 100), torch.full((copies,), 9.0)])[:, None]
    found = nearest_partners(rows, 4, n_clusters=3)[100:]
    assert ((found >= 100).sum(1) == min(4, copies - 1)).all()
    assert not (found == torch.arange(100, 100 + copies)[:, None]).any()
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_few_values_are_clusters():
    """Three answers in two clusters, or as many values as clusters: the neighbours of a row are copies."""
    rows = torch.arange(3.0).repeat_interleave(50)[:, None]
    assert (_values_of_neighbours(rows, 2) == rows).all()
    rows = torch.arange(20.0).repeat_interleave(30)[:, None]
    assert (_values_of_neighbours(rows, 20) == rows).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_of_rows(monkeypatch, dtype):
    """Equal rows have equal codes, whatever part they are in. Numbers of few bits have codes that differ, too."""
    monkeypatch.setattr(_nearest_partners, "_CODED", 1000)
    rows = torch.cartesian_prod(*[torch.arange(6, dtype=dtype)] * 5)
    codes = row_codes(torch.cat([rows, rows.flip(0), -rows]))
    assert len(codes.unique()) == 2 * 6**5 - 1
    assert (codes[: 6**5] == codes[6**5 : 2 * 6**5].flip(0)).all()
    assert codes[0] == codes[2 * 6**5]  # 0 and -0


def test_codes_of_rows_that_differ_in_one_column():
    """A few columns are compared first. They decide only if no two rows are equal there."""
    rows = torch.ones(100, 100)
    rows[:, 37] = torch.arange(100) // 2
    codes, found = row_codes(rows).unique(return_inverse=True)
    assert len(codes) == 50
    assert (found[::2] == found[1::2]).all()
    rows[:, 0] = torch.arange(100)
    assert len(row_codes(rows).unique()) == 100
