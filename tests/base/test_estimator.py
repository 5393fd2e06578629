"""The state of estimators through skops, pickle and copy."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from sklinvariant.aggregation import LearnedAggregation
from sklinvariant.cluster import IICClusterer
from sklinvariant.feature_extraction import BackbonePatches

# one epoch of ten samples learns nothing
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


X, Y = np.random.RandomState(0).rand(10, 24), np.arange(10) % 2


def _network(n_in=4):
    return torch.nn.Linear(n_in, 3, dtype=torch.float32, device="cpu")


HOLD_MODULES = {
    "module": BackbonePatches(torch.nn.Conv2d(1, 2, 3, dtype=torch.float32, device="cpu"), image_shape=(4, 6)),
    "encoder": LearnedAggregation(_network(), descriptor_dim=4, max_epochs=1),
    "network": IICClusterer(2, network=_network(24), n_neighbors=2, max_epochs=1),
}


@pytest.mark.parametrize("named", HOLD_MODULES)
def test_skops_refuses_torch_modules_as_it_writes(named, tmp_path):
    sio = pytest.importorskip("skops.io", reason="needs skops")
    model = make_pipeline(HOLD_MODULES[named].fit(X, Y))
    with pytest.raises(TypeError, match=rf"{named} of \w+ is a torch module.*joblib or pickle"):
        sio.dump(model, tmp_path / "model.skops")


@pytest.mark.parametrize("named", HOLD_MODULES)
@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL])
def test_models_with_torch_modules_are_pickled_and_copied(named, protocol, tmp_path):
    model = HOLD_MODULES[named].fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib", protocol=protocol)
    copies = [pickle.loads(pickle.dumps(model, protocol)), copy.deepcopy(model), joblib.load(tmp_path / "model.joblib")]
    for again in copies:
        assert vars(again).keys() == vars(model).keys()
        given, expected = again.transform(X), model.transform(X)
        np.testing.assert_array_equal(getattr(given, "values", given), getattr(expected, "values", expected))
