"""Which samples are labelled, and the score on them."""

import numpy as np
import pandas as pd
import pytest

from sklinvariant.cluster._few_labels._partly_labelled import PartlyLabelledClassifier


class Constant(PartlyLabelledClassifier):
    """Predicts the same for all samples."""

    def __init__(self, answer=1, unlabeled_value=-1):
        self.answer, self.unlabeled_value = answer, unlabeled_value
        self._state = {}  # there is nothing to fit

    def predict(self, X):
        return np.full(len(X), self.answer)


@pytest.mark.parametrize(
    ("unlabeled", "y", "expected"),
    [
        (-1, [1, -1, 2, -1], [1, 2]),
        (-1, np.array([1, -1, 2, -1], dtype=object), [1, 2]),
        ("?", ["a", "?", "b", "?"], ["a", "b"]),
        (-1, np.array(["a", -1, "b", -1], dtype=object), ["a", "b"]),
        (-1, pd.Series([1, -1, 2, -1], dtype="Int64"), [1, 2]),
        (None, [1, -1, 2, -1], [1, -1, 2, -1]),
    ],
)
def test_labelled_samples(unlabeled, y, expected):
    labels, labelled = Constant(unlabeled_value=unlabeled)._check_labels(y)
    assert labels.tolist() == expected
    assert labelled.tolist() == [unlabeled is None or str(label) != str(unlabeled) for label in y]


def test_the_score_leaves_out_unlabelled_samples():
    X = np.zeros((5, 2))
    assert Constant().score(X, [1, 1, 2, -1, -1]) == pytest.approx(2 / 3)
    assert Constant().score(X, [1, 1, 2, -1, -1], sample_weight=[1, 1, 2, 9, 9]) == 0.5


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        ([-1, -1], "y has no label: all 2 samples"),
        (np.array(["a", "-1"]), "must have dtype object"),
        (np.array([1, None], dtype=object), "NaN or None"),
        ([1.5, 0.2], "Unknown label type"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        Constant()._check_labels(y)


def test_attributes_of_the_clusterer_are_there_after_the_fit():
    model = Constant()
    assert not hasattr(model, "n_features_in_")
    model.clusterer_ = type("Clusterer", (), {"n_features_in_": 3})()
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")
