"""Metrics of rankings against loops, scikit-learn and the program of the Oxford buildings data set."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score
from tolerance import assert_close

from sklinvariant.metrics import average_precision, mean_average_precision, recall_at_k, ukbench_score


@pytest.fixture
def search(global_random_seed):
    """Rankings of 30 ids for 8 queries, the relevant ids, and junk."""
    rng = np.random.RandomState(global_random_seed)
    ranking = np.array([rng.permutation(30) for _ in range(8)])
    relevant = rng.rand(8, 30) < 0.2
    relevant[:, 0] = True
    junk = rng.rand(8, 30) < 0.2
    junk[:, 0] = False
    return ranking, relevant, junk


def oxford(ranked, positive, ambiguous):
    """compute_ap.cpp of the Oxford buildings, line by line."""
    old_recall, old_precision, ap, intersect_size, j = 0.0, 1.0, 0.0, 0, 0
    for image in ranked:
        if image in ambiguous:
            continue
        if image in positive:
            intersect_size += 1
        recall = intersect_size / len(positive)
        precision = intersect_size / (j + 1.0)
        ap += (recall - old_recall) * ((old_precision + precision) / 2.0)
        old_recall, old_precision = recall, precision
        j += 1
    return ap


def test_trapezoid_is_the_program_of_oxford(search):
    ranking, relevant, junk = search
    got = average_precision(ranking, relevant, junk=junk, interpolation="trapezoid")
    for value, ranked, good, bad in zip(got, ranking, relevant, junk, strict=True):
        bad = set(np.flatnonzero(bad))
        assert value == pytest.approx(oxford(ranked, set(np.flatnonzero(good)) - bad, bad))


def test_step_is_scikit_learn(search):
    ranking, relevant, junk = search
    got = average_precision(ranking, relevant, junk=junk)
    for value, ranked, good, bad in zip(got, ranking, relevant, junk, strict=True):
        kept = [i for i in ranked if not bad[i]]
        assert value == pytest.approx(average_precision_score(good[kept], -np.arange(len(kept))))
    assert mean_average_precision(ranking, relevant, junk=junk) == pytest.approx(got.mean())


@pytest.mark.parametrize("interpolation", ["step", "trapezoid"])
def test_every_way_to_say_what_is_relevant(search, interpolation):
    ranking, relevant, junk = search
    expected = average_precision(ranking, relevant, junk=junk, interpolation=interpolation)
    lists = [np.flatnonzero(row) for row in relevant], [np.flatnonzero(row).tolist() for row in junk]
    objects = np.empty(len(ranking), dtype=object)
    for i, ids in enumerate(lists[0]):
        objects[i] = ids
    ids = np.random.RandomState(0).permutation(10**12 + np.arange(30))
    renamed = ids[ranking], [ids[row] for row in lists[0]], [ids[row] for row in lists[1]]
    for how in (
        (ranking, *lists),
        (ranking.tolist(), objects, lists[1]),
        (ranking, csr_matrix(relevant), csr_matrix(junk.astype(float)).tocoo()),
        renamed,
        (torch.tensor(ranking), torch.tensor(relevant), torch.tensor(junk)),
        (pd.DataFrame(ranking), pd.DataFrame(relevant), pd.DataFrame(junk)),
        (ranking, relevant.tolist(), [set(row) for row in lists[1]]),
    ):
        got = average_precision(how[0], how[1], junk=how[2], interpolation=interpolation)
        assert_close(got, expected)


def test_junk_is_as_if_it_were_not_there(search):
    ranking, relevant, junk = search
    for i in range(len(ranking)):
        kept = ranking[i][~junk[i][ranking[i]]]
        one = slice(i, i + 1)
        without = [np.flatnonzero(relevant[i] & ~junk[i])]
        assert_close(average_precision(ranking[one], relevant[one], junk=junk[one]), average_precision([kept], without))
        recall = recall_at_k(ranking[one], relevant[one], 3, junk=junk[one])
        assert recall == pytest.approx(recall_at_k([kept], without, 3))


def test_bounds_and_what_is_not_reached():
    for interpolation in ("step", "trapezoid"):
        assert average_precision([[4, 2, 0]], [[2, 4]], interpolation=interpolation) == 1
        assert average_precision([[1, 3]], [[2, 4]], interpolation=interpolation) == 0
        assert average_precision([[4, -1]], [[2, 4]], interpolation=interpolation) == 0.5
        assert np.isnan(average_precision([[4, 1]], [[]], interpolation=interpolation)).all()
    assert average_precision([[-1, 4]], [[4]]) == 1  # none is no rank


def test_recall_is_a_loop(search):
    ranking, relevant, _ = search
    for k in (1, 4, 30, 50):
        expected = [len(set(r[:k]) & set(np.flatnonzero(g))) / g.sum() for r, g in zip(ranking, relevant, strict=True)]
        assert recall_at_k(ranking, relevant, k) == pytest.approx(np.mean(expected))


def test_ukbench_counts_the_right_ones_among_four(global_random_seed):
    ranking = np.array([np.random.RandomState(global_random_seed + i).permutation(20) for i in range(20)])
    groups = [np.arange(i // 4 * 4, i // 4 * 4 + 4) for i in range(20)]
    expected = np.mean([np.isin(row[:4], group).sum() for row, group in zip(ranking, groups, strict=True)])
    assert ukbench_score(ranking, groups) == pytest.approx(expected)


def test_queries_to_which_nothing_is_relevant_are_left_out():
    assert mean_average_precision([[0, 1], [0, 1]], [[1], []]) == 0.5
    assert recall_at_k([[0, 1], [0, 1]], [[0], []], 1) == 1
    with pytest.raises(ValueError, match="no query has relevant ids"):
        mean_average_precision([[0, 1]], [[]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [[0]]), "ranking has dtype int64 and shape"),
        (([[0.5, 1]], [[0]]), "ranking has dtype"),
        (([[0, 1]], [[0], [1]]), "relevant has entries for 2 queries"),
        (([[0, 1], [1, 1]], [[0], [1]]), "row 1 of ranking contains a neighbour twice"),
        (([[0, 1, 2]], np.array([[0, 1, 1]])), "row 0 of relevant contains an id twice"),
        (([[0, 1]], np.array([[0.0, 1.0]])), "row 0 of relevant has dtype float64"),
        (([[0, 1]], [["a"]]), "row 0 of relevant has dtype <U1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        average_precision(*arguments)
    with pytest.raises(ValueError, match=message):
        recall_at_k(*arguments, 1)


def test_bad_parameters():
    with pytest.raises(ValueError, match="interpolation='linear' is unknown"):
        average_precision([[0]], [[0]], interpolation="linear")
    with pytest.raises(ValueError, match="k=0 is not valid"):
        recall_at_k([[0]], [[0]], 0)
    with pytest.raises(ValueError, match=r"k=1\.5 is not valid"):
        recall_at_k([[0]], [[0]], 1.5)
    with pytest.raises(ValueError, match="junk has entries for 2 queries"):
        average_precision([[0]], [[0]], junk=[[0], [1]])
