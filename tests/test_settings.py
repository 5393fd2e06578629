"""Global settings of the user do not change results: default dtype and device, modes, numpy's error handling."""

import contextlib
import functools
import os
import warnings

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close, assert_same_labels

from sklinvariant import DescriptorSets, metrics, ops, transforms
from sklinvariant.accumulate import Blocks, fit_kmeans
from sklinvariant.cluster._merge import merge_clusters
from sklinvariant.datasets import frame_pairs, make_camera_clips
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.networks import LiftingConv2d

SCORES = ("predict_proba", "decision_function")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FUZZ = float(os.environ.get("SKLINVARIANT_FUZZ", 1))
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
def strict():
    """All settings that turn warnings and anomalies into errors."""
    with warnings.catch_warnings(), np.errstate(all="raise"), deterministic():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # which is ours, and meant
        yield


SETTINGS = {
    "float64": functools.partial(default_dtype, torch.float64),
    "float16": functools.partial(default_dtype, torch.float16),
    "meta": functools.partial(default_device, "meta"),
    "autocast": functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "strict": strict,
}


def quick_example(name):
    """`example` with few epochs, which are enough to detect a difference."""
    estimator, X, y = example(name)
    few = {key: min(value, 2) for key, value in estimator.get_params().items() if key.endswith("max_epochs")}
    return estimator.set_params(**few), X, y


def answers(estimator, X, y):
    """The results of all methods of an estimator for X after a fit."""
    return asked(estimator.fit(X, y), X)


def asked(estimator, X):
    found = {}
    for method in METHODS:
        if hasattr(estimator, method):
            given = found["transform"] if method == "inverse_transform" else X
            found[method] = getattr(estimator, method)(given)
    if hasattr(estimator, "get_feature_names_out"):
        found["get_feature_names_out"] = estimator.get_feature_names_out()
    return found


@functools.lru_cache
def plain_answers(name):
    return answers(*quick_example(name))


def assert_same_answers(actual, expected):
    assert actual.keys() == expected.keys()
    scores = next((expected[method] for method in SCORES if method in expected), None)
    for method, values in expected.items():
        if method == "predict" and np.ndim(scores) == 2:
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
        assert_same_values(actual.values, expected.values)
    else:
        assert type(actual) is type(expected)
        assert getattr(actual, "dtype", None) == getattr(expected, "dtype", None)
        floats = np.asarray(expected).dtype.kind == "f"
        (assert_close if floats else np.testing.assert_array_equal)(actual, expected)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_answer_as_without_the_setting(name, setting):
    expected = plain_answers(name)
    estimator, X, y = quick_example(name)
    with SETTINGS[setting]():
        actual = answers(estimator, X, y)
    assert_same_answers(actual, expected)


COMBINED = st.sets(st.sampled_from(sorted(SETTINGS)))


@contextlib.contextmanager
def combined(names):
    with contextlib.ExitStack() as stack:
        for name in sorted(names):
            stack.enter_context(SETTINGS[name]())
        yield


@settings(max_examples=int(25 * FUZZ), derandomize=True, deadline=None, database=None)
@given(name=st.sampled_from(sorted(ESTIMATORS)), fitting=COMBINED, asking=COMBINED)
def test_any_settings_at_the_fit_and_any_others_later(name, fitting, asking):
    expected = plain_answers(name)
    estimator, X, y = quick_example(name)
    with combined(fitting):
        estimator.fit(X, y)
    with combined(asking):
        actual = asked(estimator, X)
    assert_same_answers(actual, expected)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_tensors_made_in_inference_mode_are_learned_from(name):
    estimator, X, y = quick_example(name)
    expected = answers(estimator, torch.tensor(X), y)
    with torch.inference_mode():
        made = torch.tensor(X)
    assert made.is_inference()
    assert_same_answers(answers(quick_example(name)[0], made, y), expected)


def _network(*inside):
    # with weights of its own: what is tested is where they were made
    network = torch.nn.Sequential(*inside)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return network


def _of_rows():
    return _network(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU())


def _of_descriptors():
    return _network(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU())


def _of_images():
    return _network(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


WITH_MODULES = {
    "IICClusterer": ("network", _of_rows),
    "IICClassifier": ("clusterer__network", _of_rows),
    "LearnedAggregation": ("encoder", _of_descriptors),
    "BackboneFeatures": ("module", _of_images),
    "BackbonePatches": ("module", _of_images),
}


@pytest.mark.parametrize("name", WITH_MODULES)
def test_modules_made_in_inference_mode_are_trained(name):
    parameter, make = WITH_MODULES[name]
    estimator, X, y = quick_example(name)
    expected = answers(estimator.set_params(**{parameter: make()}), X, y)
    with torch.inference_mode():
        module = make()
    assert next(module.parameters()).is_inference()
    assert_same_answers(answers(quick_example(name)[0].set_params(**{parameter: module}), X, y), expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_bfloat16_of_our_own_is_kept(setting):
    _, X, _ = example("BackbonePatches")
    model = BackbonePatches(_of_images(), precision="bf16")
    expected = model.fit(X).transform(X).values
    with SETTINGS[setting]():
        assert_close(model.fit(X).transform(X).values, expected)


def _rng():
    return np.random.RandomState(0)


def _images():
    return _rng().rand(4, 8, 8).astype(np.float32)


def _codes():
    return _rng().randint(2, size=(12, 8)).astype(np.uint8)


def _rows():
    return _rng().normal(size=(12, 3)).astype(np.float32)


def _labels():
    return np.arange(12) % 3, np.arange(12) % 4


def _convolution():
    return LiftingConv2d(1, 2, 3, "C8", generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float32)


def _joint():
    return torch.as_tensor(_rng().rand(2, 3, 3), dtype=torch.float32, device="cpu")


def _scores():
    rows = torch.as_tensor(_rows(), device="cpu")
    return ops.Scores(rows[:2].T.contiguous(), rows[0, :2], rows[0], rows[0, 0].abs())


def _bags():
    bags = DescriptorSets.from_bags([_rows(), _rows()[:5]])
    return DescriptorSets.concatenate([bags[[1, 0]], bags.to("cpu")[1:]]).check_finite()


FUNCTIONS = {
    "average_precision": lambda: metrics.average_precision([[2, 0, 1]], [[0, 1]]),
    "bit_activations": lambda: metrics.bit_activations(_codes()),
    "bit_correlation": lambda: metrics.bit_correlation(_codes()),
    "bit_entropy": lambda: metrics.bit_entropy(_codes()),
    "clustering_accuracy": lambda: metrics.clustering_accuracy(*_labels()),
    "code_entropy": lambda: metrics.code_entropy(_codes()),
    "equivariance_error": lambda: metrics.equivariance_error(_convolution(), "C8", _images(), per_element=True)[::2],
    "exact_ranking": lambda: metrics.exact_ranking(_rows()),
    "invariance_score": lambda: metrics.invariance_score(_rng().rand(9, 2, 3), random_state=0),
    "match_clusters": lambda: metrics.match_clusters(*_labels()),
    "mean_average_precision": lambda: metrics.mean_average_precision([[2, 0, 1]], [[0, 1]]),
    "recall_at_k": lambda: metrics.recall_at_k([[2, 0, 1]], [[0, 1]], 2),
    "ColorJitter": lambda: transforms.ColorJitter()(np.stack([_images()] * 3, -1), 0),
    "Compose": lambda: transforms.Compose([transforms.Rotation(15), transforms.Flip()])(_images(), 0),
    "Crop": lambda: transforms.Crop()(_images(), 0),
    "GaussianNoise": lambda: transforms.GaussianNoise()(_images(), 0),
    "Scale": lambda: transforms.Scale().apply(_images(), transforms.Scale().orbit(4)),
    "Sobel": lambda: transforms.Sobel()(_images()),
    "Translation": lambda: transforms.Translation().invert(_images(), [[0.1, 0.2]]),
    "orbit": lambda: transforms.Compose([transforms.Rotation(), transforms.Shear(axis="both")]).orbit([3, 4]),
    "warp": lambda: transforms.warp(_images(), transforms.Rotation().matrix([[30.0]])),
    "pixel_matrix": lambda: transforms.pixel_matrix(transforms.Rotation().matrix([[30.0]]), (8, 9)),
    "DescriptorSets": _bags,
    "frame_pairs": lambda: frame_pairs(
        [_rng().rand(6, 20, 20)], n_pairs=5, patch_size=4, image_size=12, random_state=0
    ),
    "make_camera_clips": lambda: make_camera_clips(1, n_frames=3, image_size=8, random_state=0),
    "fit_kmeans": lambda: fit_kmeans(
        Blocks(torch.as_tensor(_rows(), device="cpu"), torch.ones(12, dtype=torch.float32, device="cpu")),
        2,
        max_iter=5,
        tol=0,
        generator=torch.Generator().manual_seed(0),
    )[0],
    "joint_information": lambda: ops.joint_information(ops.joint_sum(_joint(), _joint())),
    "merge_clusters": lambda: merge_clusters(_joint()[0], 2, generator=torch.Generator().manual_seed(0)),
    "soft_moments": lambda: ops.soft_moments(
        torch.as_tensor(_rows(), device="cpu"), np.array([0, 5, 12]), _scores(), order=1
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_answer_as_without_the_setting(name, setting):
    expected = FUNCTIONS[name]()
    with SETTINGS[setting]():
        actual = FUNCTIONS[name]()
    assert_same_values(actual, expected)


def test_the_settings_of_the_user_are_back_afterwards():
    estimator, X, y = quick_example("LearnedBoW")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), np.errstate(all="raise"):
        with torch.device("meta"):
            estimator.fit(X, y)
            assert torch.empty(0).device.type == "meta"
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert set(np.geterr().values()) == {"raise"}
        with pytest.raises(ValueError, match="features"):
            estimator.transform(X[..., :3])
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_kernels_keep_the_gradients_of_the_user():
    joint = _joint().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = ops.joint_information(joint)
    assert value.dtype == torch.float32
    assert value.requires_grad
    with torch.no_grad():
        assert not ops.joint_information(joint).requires_grad
