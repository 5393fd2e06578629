"""Moments in the state of a model: conversion in both directions, and their sum over models."""

import pytest
import torch

from sklinvariant import AutoPooling
from sklinvariant.pooling._held_moments import moments_of_models, moments_of_state, moments_to_state
from sklinvariant.pooling._pair_moments import pair_moments


@pytest.fixture
def frames(global_random_seed):
    return torch.rand(9, 4, generator=torch.Generator().manual_seed(global_random_seed), dtype=torch.float64)


def test_there_and_back(frames):
    moments = pair_moments(frames, torch.ones(8, dtype=torch.bool))
    again = moments_of_state(moments_to_state(moments), False, "cpu")
    assert again.n_pairs == moments.n_pairs == 8
    torch.testing.assert_close(again.total, moments.total)
    torch.testing.assert_close(again.change, moments.change)


def test_the_sum_over_models_is_that_of_all_pairs(frames):
    pairs = torch.stack([frames[:-1], frames[1:]], dim=1)
    models = [AutoPooling(2, standardize=False, random_state=0).fit(part) for part in (pairs[:3], pairs[3:])]
    merged = moments_of_models(models, AutoPooling, False, False, "cpu")
    expected = pair_moments(frames, torch.ones(8, dtype=torch.bool))
    assert merged.n_pairs == 8
    torch.testing.assert_close(merged.total, expected.total)
    torch.testing.assert_close(merged.change, expected.change)


def test_what_cannot_be_summed(frames):
    model = AutoPooling(2, random_state=0).fit(frames)
    with pytest.raises(ValueError, match="must be a non-empty list"):
        moments_of_models([], AutoPooling, False, False, "cpu")
    with pytest.raises(ValueError, match=r"models\[1\] must be a fitted AutoPooling"):
        moments_of_models([model, AutoPooling()], AutoPooling, False, False, "cpu")
    with pytest.raises(ValueError, match=r"models\[1\] has 3 features, but models\[0\] has 4"):
        moments_of_models([model, AutoPooling(2, random_state=0).fit(frames[:, :3])], AutoPooling, False, False, "cpu")
    with pytest.raises(ValueError, match=r"models\[0\]: cross_reconstruction=True"):
        moments_of_models([model], AutoPooling, True, False, "cpu")
    with pytest.raises(ValueError, match='solver="moment" cannot continue'):
        moments_of_state({}, False, "cpu")
