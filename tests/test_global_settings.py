"""What the user sets for a process or a thread changes no result: default dtype and device, modes, numpy's errors."""

import contextlib
import functools
import warnings

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close, assert_same_labels

SCORES = ("predict_proba", "decision_function")
METHODS = (*SCORES, "transform", "inverse_transform", "predict", "kneighbors", "score_samples")


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode("default")


@contextlib.contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # which is ours, and meant
        yield


SETTINGS = {
    "default_dtype=float64": functools.partial(default_dtype, torch.float64),
    "default_dtype=float16": functools.partial(default_dtype, torch.float16),
    "default_device=meta": functools.partial(default_device, "meta"),
    "autocast": functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "deterministic": deterministic,
    "seterr": functools.partial(np.errstate, all="raise"),
    "warnings": warnings_as_errors,
}


def answers(estimator, X, y):
    """What each method of a fitted estimator says of X."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y)
    for method in METHODS:
        if hasattr(estimator, method):
            given = found["transform"] if method == "inverse_transform" else X
            found[method] = getattr(estimator, method)(given)
    return found


@functools.lru_cache
def plain_answers(name):
    return answers(*example(name))


def assert_same_answers(actual, expected):
    assert actual.keys() == expected.keys()
    scores = next((expected[method] for method in SCORES if method in expected), None)
    for method, values in expected.items():
        if method == "predict" and np.ndim(scores) == 2 and values.dtype.kind in "iu":
            assert_same_labels(actual[method], values, scores)
        else:
            assert_same_values(actual[method], values)


def assert_same_values(actual, expected):
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_values(one, other)
    elif hasattr(expected, "offsets"):
        np.testing.assert_array_equal(actual.offsets, expected.offsets)
        assert_close(actual.values, expected.values)
    else:
        assert type(actual) is type(expected)
        assert actual.dtype == expected.dtype
        (assert_close if np.asarray(expected).dtype.kind == "f" else np.testing.assert_array_equal)(actual, expected)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_answer_as_without_the_setting(name, setting):
    expected = plain_answers(name)
    estimator, X, y = example(name)
    with SETTINGS[setting]():
        actual = answers(estimator, X, y)
    assert_same_answers(actual, expected)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tensors_made_in_inference_mode_are_learned_from(name):
    estimator, X, y = example(name)
    expected = answers(estimator, torch.tensor(X), y)
    with torch.inference_mode():
        made = torch.tensor(X)
    assert made.is_inference()
    assert_same_answers(answers(example(name)[0], made, y), expected)
