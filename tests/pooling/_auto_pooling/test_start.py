"""Units of features and initial components, fresh ones and those of an earlier fit."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close

from sklinvariant import AutoPooling
from sklinvariant.pooling._auto_pooling._start import check_reach, initial_components, random_components, units_of


def test_earlier_components_are_kept_unless_they_are_0():
    fresh = random_components(3, 4, torch.Generator().manual_seed(0)).double()
    assert initial_components(None, fresh) is fresh
    earlier = np.eye(3, 4)
    earlier[1] = 0
    start = initial_components(earlier, fresh)
    assert_close(start[[0, 2]], earlier[[0, 2]])
    assert_close(start[1], 0.01 * fresh[1])


def test_constant_features_have_the_scale_1():
    units = units_of(torch.tensor([3.0, 4.0]), torch.tensor([0.5, 0.0]), torch.float64)
    assert units["scale"].tolist() == [0.5, 1.0]
    assert units["varies"].tolist() == [True, False]
    assert units["mean"].dtype == np.float64


def test_features_whose_squares_are_0_are_refused():
    check_reach(1.0, 1e-149, 2.0)
    check_reach(1.0, 0.0, 2.0)  # all features are 0, which is no mistake of units
    with pytest.raises(ValueError, match="features up to 1e-151 are too small"):
        check_reach(1.0, 1e-151, 2.0)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("solver", ["moment", "sgd"])
def test_squares_beyond_float64_are_named(frames, solver, standardize):
    model = AutoPooling(3, solver=solver, max_epochs=2, standardize=standardize, random_state=0)
    for scale in (1e155, 1e200, 1e300):
        with pytest.raises(ValueError, match=r"features up to \S+e\+\d{3} are too large, because sums of .* infinite"):
            model.fit(frames * scale)
    if solver == "moment":
        with pytest.raises(ValueError, match=r"invariance=1e\+300 make J infinite"):
            model.set_params(invariance=1e300).fit(frames)
    assert not hasattr(model, "components_")


def test_warm_start_revives_what_died(frames):
    model = AutoPooling(3, invariance=1e6, warm_start=True, random_state=0)
    with pytest.warns(ConvergenceWarning, match="all components are almost 0. Lower invariance"):
        model.fit(frames)
    model._state["components"][1:] = 0
    model.set_params(invariance=0.0).fit(frames)
    assert model.components_.any(1).all()
    cold = AutoPooling(3, invariance=0.0, random_state=0).fit(frames)
    assert model.objective_ == pytest.approx(cold.objective_, rel=0.2)
