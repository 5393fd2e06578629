"""The linear model of a learned aggregation: targets and predictions."""

import numpy as np
import pytest
from sklearn.base import is_classifier, is_regressor

from sklinvariant.aggregation import LearnedBoW


@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge"])
def test_string_classes(two_classes, loss):
    X, y = two_classes
    words = np.array(["cat", "dog"])[y]
    model = LearnedBoW(4, loss=loss, max_epochs=20, batch_size=8, random_state=0).fit(X, words)
    assert is_classifier(model)
    assert set(model.predict(X)) == {"cat", "dog"}
    assert model.score(X, words) > 0.9
    assert hasattr(model, "predict_proba") == (loss == "log_loss")


def test_multilabel(two_classes):
    X, y = two_classes
    Y = np.stack([y, 1 - y, np.ones_like(y)], axis=1)
    model = LearnedBoW(4, max_epochs=20, random_state=0).fit(X, Y)
    assert model.predict(X).shape == model.predict_proba(X).shape == (40, 3)
    assert model.score(X, Y) > 0.9


@pytest.mark.parametrize("outputs", [None, 2])
def test_regression(two_classes, outputs):
    X, _ = two_classes
    y = np.log(X.std(axis=(1, 2)))
    y = y if outputs is None else np.stack([y, -y], axis=1)
    model = LearnedBoW(8, loss="squared_error", max_epochs=60, random_state=0).fit(X, y)
    assert is_regressor(model)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.8
    assert not hasattr(model, "decision_function")


def test_class_weight(two_classes):
    X, y = two_classes
    even = LearnedBoW(3, max_epochs=5, random_state=0).fit(X, y).predict_proba(X)[:, 1].mean()
    heavy = LearnedBoW(3, max_epochs=5, class_weight={0: 1, 1: 50}, random_state=0).fit(X, y)
    assert heavy.predict_proba(X)[:, 1].mean() > even
