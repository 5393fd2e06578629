"""Use with skops and mlflow."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import sklinvariant
from sklinvariant.aggregation import VLAD, LearnedVLAD

# one epoch of ten samples learns nothing
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = np.random.RandomState(0).rand(10, 24), np.arange(10) % 2


def _pipeline():
    learned = LearnedVLAD(3, descriptor_dim=4, max_epochs=1, random_state=0)
    return make_pipeline(learned, LinearSVC(random_state=0)).fit(X, Y)


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
