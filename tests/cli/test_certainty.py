"""Certainties of clusters: high for kinds that are found again, low where every clustering is another one."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tolerance import assert_close

from sklinvariant.cli._certainty import MIXED, agreement_of_runs, certainties, resampled_clusterings


def _slow_agreement(labels, runs):
    shares = []
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]
        together = [run[i] == run[j] for run in runs for j in others]
        shares.append(np.mean(together) if others else np.nan)
    return shares


def test_agreement_is_the_share_of_pairs_that_come_together_again(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    labels, runs = np.append(rng.randint(3, size=20), 7), rng.randint(4, size=(5, 21))
    assert_close(agreement_of_runs(labels, runs), _slow_agreement(labels, runs))


@pytest.fixture(scope="module")
def kinds():
    """Four kinds far from each other, 40 rows each."""
    rng = np.random.RandomState(0)
    return rng.normal(size=(160, 8)) + 20 * np.eye(4, 8)[np.arange(160) % 4]


def test_clear_kinds_are_certain_and_noise_is_mixed(kinds):
    labels = np.arange(160) % 4
    assert certainties(kinds, labels, 4, 0).mean() > 0.7
    assert certainties(np.random.RandomState(0).normal(size=(160, 8)), labels, 4, 0).mean() < MIXED


def test_a_cluster_of_two_kinds_is_less_certain_than_those_of_one(kinds):
    """Kinds 0 and 1 are together, and kind 3 is split."""
    labels = np.array([0, 0, 1, 2])[np.arange(160) % 4]
    labels[3:80:4] = 3
    sure = certainties(kinds, labels, 4, 0)
    assert sure[labels == 0].mean() < sure[labels == 1].mean() - 0.1


def test_certainties_are_near_the_observed_shares_on_digits():
    """Photographs and network of the calibration were others."""
    from sklearn.cluster import KMeans

    X, y = load_digits(return_X_y=True)
    labels = KMeans(10, n_init=1, random_state=0).fit_predict(X)
    right = np.concatenate([y[labels == k] == np.bincount(y[labels == k]).argmax() for k in range(10)])
    sure = certainties(X, labels, 10, 0)
    assert abs(sure.mean() - right.mean()) < 0.25
    assert 0.19 < sure.min() <= sure.max() < 0.8


def test_equal_rows_and_few_rows(recwarn):
    assert len(certainties(np.zeros((5, 3)), np.array([0, 0, 0, 1, 1]), 2, 0)) == 5
    assert resampled_clusterings(np.arange(6.0).reshape(3, 2), 3, 0).shape == (10, 3)
    assert not recwarn


def test_a_photograph_alone_in_its_cluster_has_no_certainty(kinds):
    labels = np.arange(160) % 4
    labels[5] = 4
    assert np.flatnonzero(np.isnan(certainties(kinds, labels, 5, 0))).tolist() == [5]


def test_the_seed_decides(kinds):
    noisy = kinds + 8 * np.random.RandomState(1).normal(size=kinds.shape)
    labels = np.arange(160) % 4
    assert_close(certainties(noisy, labels, 4, 3), certainties(noisy, labels, 4, 3))
    assert np.abs(certainties(noisy, labels, 4, 3) - certainties(noisy, labels, 4, 4)).max() > 1e-6
