"""Predictions of a fitted network: kinds of arrays, files, and state that does not fit together."""

import pickle

import joblib
import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant import IICClusterer, load, save

QUICK = {"max_epochs": 40, "learning_rate": 0.01, "n_neighbors": 5, "random_state": 0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
def test_files(blobs, tmp_path):
    X, _ = blobs
    model = IICClusterer(3, **QUICK | {"max_epochs": 2}).fit(X)
    save(model, tmp_path / "model.safetensors")
    for copy in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(copy.labels_, model.labels_)
        assert copy.best_head_ == model.best_head_
        assert copy.score(X) == model.score(X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_stay_tensors(blobs, dtype, device):
    X = torch.tensor(blobs[0], dtype=dtype, device=device)
    model = IICClusterer(3, **QUICK | {"max_epochs": 20}).fit(X)
    assert isinstance(model.labels_, np.ndarray)
    for result in (model.predict(X), model.predict_proba(X), model.transform(X), model.fit_predict(X)):
        assert isinstance(result, torch.Tensor)
        assert result.device == X.device
    assert model.transform(X).dtype == dtype


def test_models_mapped_from_files(blobs, tmp_path):
    """What is mapped from a file cannot be written to."""
    X, _ = blobs
    model = IICClusterer(3, warm_start=True, **QUICK | {"max_epochs": 2}).fit(X)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), model.predict_proba(X))
    before = model.predict_proba(X)
    model.fit(X)
    assert_close(mapped.fit(X).predict_proba(X), model.predict_proba(X), rtol=1e-3)
    assert not np.allclose(before, model.predict_proba(X), rtol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_shape": [4, 4]}, r"samples of shape \[4, 4\] do not match n_channels=None"),
        ({"sample_shape": [5]}, r"shift should have 5 numbers, got \(4,\)"),
        ({"best_head": 10}, "30 units do not match n_heads=10 and n_clusters=3"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(blobs, tmp_path, change, message):
    model = IICClusterer(3, **QUICK | {"max_epochs": 1}).fit(blobs[0])
    model._state |= change
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "model")
