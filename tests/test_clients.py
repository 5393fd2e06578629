"""Other people's software: skops and mlflow."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import sklinvariant
from sklinvariant.aggregation import VLAD, LearnedAggregation, LearnedVLAD
from sklinvariant.cluster import IICClusterer
from sklinvariant.feature_extraction import BackbonePatches

# one epoch of ten samples learns nothing
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = np.random.RandomState(0).rand(10, 24), np.arange(10) % 2


def _network(n_in=4):
    return torch.nn.Linear(n_in, 3, dtype=torch.float32, device="cpu")


def _pipeline():
    learned = LearnedVLAD(3, descriptor_dim=4, max_epochs=1, random_state=0)
    return make_pipeline(learned, LinearSVC(random_state=0)).fit(X, Y)


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


def test_pipelines_through_skops(tmp_path):
    sio = pytest.importorskip("skops.io", reason="needs skops")
    model = make_pipeline(VLAD(3, descriptor_dim=4, random_state=0), LinearSVC(random_state=0)).fit(X, Y)
    sio.dump(model, tmp_path / "model.skops")
    assert set(sio.get_untrusted_types(file=tmp_path / "model.skops")) <= set(sklinvariant.trusted_types())
    again = sio.load(tmp_path / "model.skops", trusted=sklinvariant.trusted_types())
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_pipelines_through_mlflow(tmp_path):
    flavour = pytest.importorskip("mlflow.sklearn", reason="needs mlflow or mlflow-skinny")
    model = _pipeline()
    options = {"serialization_format": "skops", "pip_requirements": []}
    flavour.save_model(model, tmp_path / "model", skops_trusted_types=sklinvariant.trusted_types(), **options)
    again = flavour.load_model(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
