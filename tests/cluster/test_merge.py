"""Small clusters merged into few: against all partitions, by the information itself, degenerate tables."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch

from sklinvariant.cluster import _merge
from sklinvariant.cluster._merge import _losses, merge_clusters
from sklinvariant.ops import joint_information


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _information(joint, labels, k, entropy_weight=1.0):
    members = np.eye(k)[labels]
    return float(joint_information(torch.tensor(members.T @ joint @ members), entropy_weight))


@pytest.mark.parametrize("entropy_weight", [1.0, 2.0])
def test_best_of_all_partitions(entropy_weight, global_random_seed):
    joint = np.random.RandomState(global_random_seed).gamma(0.3, size=(7, 7))
    found = merge_clusters(joint, 3, entropy_weight=entropy_weight, generator=_generator())
    best = max(_information(joint, list(labels), 3, entropy_weight) for labels in itertools.product(range(3), repeat=7))
    assert _information(joint, found, 3, entropy_weight) == pytest.approx(best)


def test_no_single_move_gains(global_random_seed):
    joint = np.random.RandomState(global_random_seed).gamma(0.3, size=(30, 30))
    found = merge_clusters(joint, 4, n_starts=1, generator=_generator(global_random_seed))
    reached = _information(joint, found, 4)
    for part in range(30):
        for cluster in range(4):
            moved = found.copy()
            moved[part] = cluster
            assert _information(joint, moved, 4) <= reached + 1e-9


def test_blocks_are_found(global_random_seed):
    truth = np.random.RandomState(global_random_seed).randint(4, size=40)
    joint = np.where(truth[:, None] == truth, 1.0, 0.01)
    found = merge_clusters(joint, 4, generator=_generator(global_random_seed))
    assert len(set(zip(truth.tolist(), found.tolist(), strict=True))) == 4


@pytest.mark.parametrize("entropy_weight", [1.0, 2.0])
def test_many_blocks_are_found(entropy_weight, global_random_seed):
    """From random starts alone, single moves end with two blocks in one cluster, and another block in two."""
    truth = np.arange(300) % 20
    joint = np.where(truth[:, None] == truth, 1.0, 1e-4)
    found = merge_clusters(joint, 20, entropy_weight=entropy_weight, generator=_generator(global_random_seed))
    assert len(set(zip(truth.tolist(), found.tolist(), strict=True))) == 20


def test_losses_are_those_of_the_information(global_random_seed):
    joint = np.random.RandomState(global_random_seed).gamma(0.3, size=(6, 6))
    joint = (joint + joint.T) / (2 * joint.sum())
    before = _information(joint, np.arange(6), 6, 1.3)
    for one, losses in enumerate(_losses(joint, each, 1.3) for each in range(6)):
        for other in set(range(6)) - {one}:
            merged = np.where(np.arange(6) == other, one, np.arange(6))
            assert before - _information(joint, merged, 6, 1.3) == pytest.approx(losses[other], abs=1e-12)
        assert losses[one] == np.inf


@pytest.mark.parametrize("joint", [np.zeros((4, 4)), np.eye(4), np.full((4, 4), 1e-300), np.diag([1.0, 0, 0, 0])])
def test_degenerate_tables(joint):
    found = merge_clusters(joint, 2, generator=_generator())
    assert found.shape == (4,)
    assert set(found.tolist()) <= {0, 1}


def test_the_same_seed_gives_the_same(global_random_seed):
    joint = np.random.RandomState(1).gamma(0.3, size=(20, 20))
    one, two, other = (
        _information(joint, merge_clusters(joint, 3, n_starts=1, generator=_generator(seed)), 3)
        for seed in (global_random_seed, global_random_seed, global_random_seed + 1)
    )
    assert one == pytest.approx(two)
    assert abs(one - other) > 1e-6


@pytest.mark.parametrize("n_bytes", [1, 3000])
def test_starts_in_parts_give_the_same(n_bytes, monkeypatch, global_random_seed):
    joint = np.random.RandomState(global_random_seed).gamma(0.3, size=(30, 30))
    generators = _generator(), _generator()
    whole = merge_clusters(joint, 4, generator=generators[0])
    monkeypatch.setattr(_merge, "_BYTES", n_bytes)
    np.testing.assert_array_equal(merge_clusters(joint, 4, generator=generators[1]), whole)
    assert torch.equal(*(generator.get_state() for generator in generators))


def test_memory_does_not_grow_with_the_starts(monkeypatch):
    """With all starts at once the tables of 200 clusters would take 64 MiB."""
    monkeypatch.setattr(_merge, "_BYTES", 16 << 20)
    monkeypatch.setattr(_merge, "_MOST_SWEEPS", 1)
    joint = np.random.RandomState(0).gamma(0.3, size=(400, 400)) * np.eye(400)
    tracemalloc.start()
    try:
        found = merge_clusters(joint, 200, generator=_generator())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 400
    assert peak < 24 * 2**20, peak / 2**20
