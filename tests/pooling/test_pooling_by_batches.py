"""Training on batches of pairs: units that continue, parts of the data, and steps that are too long."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close

from sklinvariant import AutoPooling
from sklinvariant.pooling import _pooling_by_batches

GROUPS = np.repeat(np.arange(5), [30, 1, 20, 2, 47])  # the clips of the fixture ``frames``


@pytest.mark.parametrize("warm_start", [False, True])
def test_features_that_were_constant_at_first_do_not_count_in_batches(frames, warm_start):
    """Their scale is unknown, so that a later value of 1e4 would be 1e4 deviations."""
    X = np.pad(frames, ((0, 0), (0, 1)))
    later = np.pad(frames, ((0, 0), (0, 1)), constant_values=1e4)
    params = {"solver": "sgd", "max_epochs": 3, "warm_start": warm_start, "random_state": 0}
    model, expected = (AutoPooling(3, **params).fit(x) for x in (X, X))
    for each, x in ((model, later), (expected, X)):
        (each.fit if warm_start else each.partial_fit)(x)
    assert_close(model.components_, expected.components_)
    assert model.objective_ == pytest.approx(expected.objective_)


@pytest.mark.parametrize("standardize", [False, True])
def test_batches_cannot_continue_in_other_units(frames, standardize):
    model = AutoPooling(3, solver="sgd", max_epochs=2, standardize=not standardize, random_state=0).fit(frames)
    model.set_params(standardize=standardize)
    message = f"cannot continue a fit with {not standardize}. Set standardize={not standardize}, or fit a clone"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(frames)
    with pytest.raises(ValueError, match=message):
        model.set_params(warm_start=True).fit(frames)
    model.set_params(warm_start=False).fit(frames)
    assert (model.scale_ is not None) == standardize


def test_partial_fit_by_batches(frames):
    model = AutoPooling(3, solver="sgd", batch_size=16, learning_rate=0.1, random_state=0)
    first = model.partial_fit(frames, groups=GROUPS).objective_
    for _ in range(100):
        model.partial_fit(frames, groups=GROUPS)
    assert model.n_iter_ == 101
    exact = AutoPooling(3, random_state=0).fit(frames, groups=GROUPS)
    assert model.objective_ == pytest.approx(exact.objective_, rel=0.1)
    assert first > 1.2 * exact.objective_


def test_a_step_too_long_is_named(frames, monkeypatch):
    with pytest.warns(ConvergenceWarning, match="all components are almost 0. Lower learning_rate"):
        AutoPooling(3, solver="sgd", learning_rate=1e6, standardize=False, random_state=0).fit(frames)
    model = AutoPooling(3, solver="sgd", random_state=0).fit(frames)
    before = model.components_
    monkeypatch.setattr(_pooling_by_batches, "pair_curvature", lambda *args: 1e-300)
    with pytest.raises(FloatingPointError, match=r"in epoch 2\. Lower learning_rate"):
        model.set_params(momentum=0.0).fit(frames)
    np.testing.assert_array_equal(model.components_, before)
