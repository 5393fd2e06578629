"""Rows that are not in temporal order cause a warning when they are read as one clip."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from sklinvariant.cluster import IICClusterer
from sklinvariant.pairs._frames import warn_of_shuffled
from sklinvariant.pooling import AutoPooling, SlowFeatures

pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")
MESSAGE = "consecutive rows are no more alike than random ones.*Pass groups"


def clip(n=200, d=5, seed=0):
    """A slow random walk: each frame is near the previous one."""
    return np.abs(np.random.RandomState(seed).normal(size=(n, d)).cumsum(0))


def shuffled(n=200, seed=0):
    return clip(n)[np.random.RandomState(seed).permutation(n)]


def learners():
    return [
        AutoPooling(2, random_state=0),
        SlowFeatures(2),
        IICClusterer(2, pairs="temporal", n_heads=1, max_epochs=1, init="random", random_state=0),
    ]


@pytest.mark.parametrize("learner", learners(), ids=lambda learner: type(learner).__name__)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_shuffled_frames_are_told_of(learner, kind):
    X = kind(shuffled())
    with pytest.warns(UserWarning, match=MESSAGE):
        learner.fit(X)
    with pytest.warns(UserWarning, match=MESSAGE):
        learner.partial_fit(X)
    learner.fit(X, groups=np.arange(200) // 2)  # warnings are errors here
    learner.fit(kind(clip()))


@pytest.mark.parametrize("learner", learners(), ids=lambda learner: type(learner).__name__)
@pytest.mark.parametrize(
    "call",
    [
        lambda learner, X: learner.fit(X),
        lambda learner, X: learner.partial_fit(X),
        lambda learner, X: make_pipeline("passthrough", learner).fit(X),
    ],
)
def test_the_warning_names_the_line_that_calls_the_estimator(learner, call):
    with pytest.warns(UserWarning, match=MESSAGE) as caught:
        call(learner, shuffled())
    assert [one.filename for one in caught if "consecutive rows" in str(one.message)] == [__file__]


@pytest.mark.parametrize("learner", learners(), ids=lambda learner: type(learner).__name__)
def test_pairs_that_are_given_are_no_clip(learner):
    if isinstance(learner, IICClusterer):
        learner.set_params(pairs="explicit")
    learner.fit(shuffled().reshape(100, 2, 5))


def test_images_are_compared_too():
    images = np.random.RandomState(0).rand(100, 6, 6)
    model = IICClusterer(2, pairs="temporal", n_heads=1, max_epochs=1, init="random", random_state=0)
    with pytest.warns(UserWarning, match="IICClusterer: " + MESSAGE):
        model.fit(images)


def warns(rows):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_shuffled(torch.as_tensor(rows), "Estimator")
    return len(caught) > 0


@pytest.mark.parametrize("n", [50, 300, 3000])
def test_shuffles_and_no_clips(n):
    """About one shuffle in 4000 passes by chance."""
    assert all(warns(shuffled(n, seed)) for seed in range(100))
    assert not any(warns(clip(n, seed=seed)) for seed in range(100))


@pytest.mark.parametrize("n", [33, 50, 300])
def test_a_clip_of_noisy_frames_of_a_periodic_motion(n):
    """The noise of a frame is as large as its motion, which returns every 20 frames."""
    for seed in range(100):
        rng = np.random.RandomState(seed)
        phase = 2 * np.pi * np.arange(n)[:, None] / 20 + rng.rand(30) * 7
        assert not warns(np.sin(phase) + 0.7 * rng.normal(size=(n, 30)))


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_any_scale(scale):
    assert all(warns(shuffled(60, seed) * scale) for seed in range(20))
    assert not any(warns(clip(60, seed=seed) * scale) for seed in range(20))


def test_rows_of_many_features_are_compared_in_a_smaller_sample():
    rows = np.random.RandomState(0).rand(300, 1).repeat(200_000, axis=1).astype(np.float32)
    assert warns(rows)
    assert not warns(np.sort(rows, axis=0))


def test_rows_of_heavy_tails():
    assert all(warns(np.random.RandomState(seed).standard_cauchy((60, 5))) for seed in range(100))


def test_too_little_to_tell():
    rng = np.random.RandomState(0)
    assert not warns(rng.rand(32, 3))
    assert not warns(np.ones((100, 3)))  # all are equally alike
    assert not warns(np.repeat(rng.rand(100, 3), 2, axis=0))  # every second is the same as the one before


def test_global_generators_are_left_alone():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    warns(shuffled())
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
