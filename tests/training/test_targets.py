"""Targets of every task: their encoding, weights, scores, and what is refused."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score

from sklinvariant.training import Task, prepare_targets, task_of_classes


def _prepare(y, *, loss="log_loss", task=None, sample_weight=None, class_weight=None, partial=False):
    n = 4 if y is None else len(y)
    kwargs = {"loss": loss, "task": task, "n_samples": n, "dtype": torch.float64, "name": "Model", "partial": partial}
    return prepare_targets(y, sample_weight, class_weight, **kwargs)


@pytest.mark.parametrize(
    ("y", "loss", "kind", "values"),
    [
        (["b", "a", "b"], "log_loss", "binary", [[1.0], [0.0], [1.0]]),
        ([7, 3, 5], "hinge", "multiclass", [2, 0, 1]),
        ([[0, 1], [1, 1], [1, 0]], "log_loss", "multilabel", [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]),
        ([0.5, 2, 1], "squared_error", "regression", [[0.5], [2.0], [1.0]]),
        ([[0.5, 2], [1, 1]], "squared_error", "regression", [[0.5, 2.0], [1.0, 1.0]]),
        ([7, 3, 5], lambda r, y: r.sum(), "own", [7, 3, 5]),
        (["b", "a", "b"], lambda r, y: r.sum(), "own", [1, 0, 1]),
        (None, lambda r, y: r.sum(), "own", None),
    ],
)
def test_targets_are_encoded_for_the_loss(y, loss, kind, values):
    targets = _prepare(y, loss=loss)
    assert targets.task.kind == kind
    assert (targets.values is None) if values is None else targets.values.tolist() == values
    restored = Task.restore(targets.task.export())
    assert (restored.kind, restored.n_outputs, restored.is_1d) == (kind, *targets.task[2:])


def test_a_later_part_is_encoded_as_the_first():
    task = task_of_classes(["a", "b", "c"], "log_loss")
    assert _prepare(["c", "c"], task=task, partial=True).values.tolist() == [2, 2]
    with pytest.raises(ValueError, match="class d, which is not one of the classes"):
        _prepare(["d"], task=task, partial=True)
    regression = _prepare([0.5, 2], loss="squared_error").task
    with pytest.raises(ValueError, match="y is regression of 2 outputs, but Model was fitted to regression of 1"):
        _prepare([[0.5, 2]], loss="squared_error", task=regression, partial=True)


def test_weights_have_mean_1():
    y, sample_weight = [0, 0, 0, 1], [1.0, 2.0, 0.0, 3.0]
    weight = _prepare(y, sample_weight=sample_weight, class_weight={0: 1, 1: 2}).weight
    expected = np.array([1, 2, 0, 6])
    np.testing.assert_allclose(weight, expected / expected.mean())
    np.testing.assert_allclose(_prepare(y, class_weight="balanced").weight, np.array([2, 2, 2, 6]) / 3)


def test_some_of_the_samples():
    part = _prepare([0, 0, 1, 1], sample_weight=[1.0, 2.0, 3.0, 4.0]).take(np.array([3, 1]))
    assert part.values.tolist() == [[1.0], [0.0]]
    np.testing.assert_allclose(part.weight, [4 / 3, 2 / 3])
    assert part.sample_weight.tolist() == [4, 2]


def test_scores_are_those_of_scikit_learn(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    weight, outputs = rng.rand(20), torch.as_tensor(rng.normal(size=(20, 3)))
    y = rng.randint(3, size=20)
    expected = accuracy_score(y, outputs.argmax(1), sample_weight=weight)
    assert _prepare(y, sample_weight=weight).score(outputs) == pytest.approx(expected)
    y = rng.normal(size=(20, 3))
    targets = _prepare(y, loss="squared_error", sample_weight=weight)
    assert targets.score(outputs) == pytest.approx(r2_score(y, outputs, sample_weight=weight))


@pytest.mark.parametrize(
    ("y", "settings", "message"),
    [
        (None, {}, "requires y to be passed"),
        ([1, 1, 1], {}, "at least 2 classes, but the data contains only 1"),
        ([0, 0, 1], {"sample_weight": [1, 1, 0]}, "at least 2 classes"),
        ([0, 1, 1], {"sample_weight": [0, 0, 0]}, "(?i)sample.weights? .*zero"),
        ([0, 1, 1], {"class_weight": {0: 0, 1: 0}}, "give no sample a positive weight"),
        ([0.5, 1, 2], {"loss": "squared_error", "class_weight": "balanced"}, "class_weight requires classes"),
        ([0, 1, 1], {"class_weight": "balanced", "partial": True}, "not supported by partial_fit"),
        ([0.5, 1.5, 2], {}, "Unknown label type"),
    ],
)
def test_bad_targets(y, settings, message):
    with pytest.raises(ValueError, match=message):
        _prepare(y, **settings)


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 1e39), (torch.float64, 1e300)])
def test_targets_beyond_the_reach_of_the_dtype(dtype, largest):
    kwargs = {"loss": "squared_error", "task": None, "n_samples": 2, "name": "Model", "partial": False}
    with pytest.raises(ValueError, match=r"y has values up to 1e\+.* Scale y"):
        prepare_targets([0.0, -largest], None, None, dtype=dtype, **kwargs)
    assert prepare_targets([0.0, -1e30], None, None, dtype=dtype, **kwargs).values is not None
