"""Predictions of a fine-tuned network: kinds of arrays, files, and state that does not fit together."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from tolerance import assert_same_labels

from sklinvariant import load, save
from sklinvariant.cluster import IICClassifier, IICClusterer

CLUSTERER = IICClusterer(3, n_neighbors=5, n_heads=2, max_epochs=10, batch_size=30, random_state=0)


@pytest.fixture(scope="module")
def blobs():
    """Rows of three blobs, their classes, those of which most are hidden, and a clusterer fitted to all."""
    X, y = make_blobs(90, n_features=4, centers=3, cluster_std=0.5, random_state=0)
    few = np.where(np.arange(90) < 12, y, -1)
    return X, y, few, FrozenEstimator(clone(CLUSTERER).fit(X))


def test_data_frames_and_tensors(blobs, device):
    X, _, few, fitted = blobs
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = IICClassifier(CLUSTERER, max_epochs=2, random_state=0).fit(frame, few)
    assert model.feature_names_in_.tolist() == list("abcd")
    rows = torch.tensor(X, dtype=torch.float32, device=device)
    model = IICClassifier(fitted, max_epochs=2, random_state=0).fit(rows, torch.tensor(few))
    for result in (
        model.predict(rows),
        model.predict_proba(rows),
        model.transform(rows),
        model.decision_function(rows),
    ):
        assert isinstance(result, torch.Tensor)
        assert result.device == rows.device
    assert model.transform(rows).dtype == torch.float32
    assert model.transform(X).dtype == np.float64
    assert isinstance(model.coef_, np.ndarray)


def test_files(blobs, tmp_path):
    X, _, few, fitted = blobs
    words = np.where(few < 0, -1, np.array(["a", "b", "c"], dtype=object)[few])
    for clusterer in (fitted, clone(CLUSTERER).set_params(max_epochs=2)):
        model = IICClassifier(clusterer, max_epochs=2, random_state=0).fit(X, words)
        save(model, tmp_path / "model.safetensors")
        for copy in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
            np.testing.assert_array_equal(copy.predict(X), model.predict(X))
            assert_same_labels(clone(copy).fit(X, words).predict(X), model.predict(X), model.predict_proba(X))


def test_attributes_come_with_fit():
    model = IICClassifier(IICClusterer())
    for name in ("n_features_in_", "feature_names_in_", "classes_", "coef_", "intercept_", "clusterer_", "history_"):
        assert not hasattr(model, name)
    with pytest.raises(NotFittedError):
        model.predict(np.eye(3))


def test_a_state_that_does_not_fit_together_is_refused(blobs, tmp_path):
    X, _, few, fitted = blobs
    model = IICClassifier(fitted, max_epochs=1, random_state=0).fit(X, few)
    model._state["classes"] = np.arange(4)
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=r"coef of shape \(3, 260\) does not match 4 classes and 260 features"):
        load(tmp_path / "model")
