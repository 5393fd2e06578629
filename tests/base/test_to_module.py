"""`to_module`: the choice of a method, pipelines, and what cannot be converted."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklinvariant import ITQHasher, LearnedBoW, RBMHasher, to_module

ROWS = np.random.RandomState(0).rand(20, 6).astype(np.float32)
BAGS = np.random.RandomState(0).rand(12, 5, 3).astype(np.float32)


def test_the_method_of_an_estimator_is_the_function():
    hasher = ITQHasher(4, random_state=0).fit(ROWS)
    rows = torch.from_numpy(ROWS)
    assert torch.equal(hasher.to_module("decision_function")(rows), to_module(hasher, "decision_function")(rows))


def test_a_pipeline_is_a_sequence_of_its_steps():
    pipeline = make_pipeline(StandardScaler(), "passthrough", FrozenEstimator(ITQHasher(4, random_state=0).fit(ROWS)))
    module = to_module(pipeline.fit(ROWS))
    assert len(module) == 2
    np.testing.assert_array_equal(module(torch.from_numpy(ROWS)).numpy(), pipeline.transform(ROWS))


def test_a_pipeline_of_no_steps():
    assert torch.equal(to_module(make_pipeline("passthrough").fit(ROWS))(torch.ones(1, 2)), torch.ones(1, 2))


@pytest.mark.parametrize("step", [LogisticRegression(), Normalizer(), TruncatedSVD(2)], ids=str)
def test_codes_are_numbers_for_later_steps(step):
    pipeline = make_pipeline(ITQHasher(4, random_state=0), step).fit(ROWS, np.arange(20) % 2)
    method = "predict" if hasattr(step, "predict") else "transform"
    given = to_module(pipeline, method)(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_allclose(given, getattr(pipeline, method)(ROWS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", np.float32, torch.int64])
def test_the_dtype_is_one_of_torch(dtype):
    with pytest.raises(ValueError, match=r"Pass torch.float32 or torch.float64"):
        to_module(ITQHasher(4).fit(ROWS), dtype=dtype)


def test_a_method_that_does_not_exist():
    with pytest.raises(
        ValueError, match=r"method='predict' is not available for ITQHasher. Choose one of \['transform'"
    ):
        to_module(ITQHasher(4).fit(ROWS), "predict")


def test_a_method_that_the_loss_does_not_give():
    learned = LearnedBoW(3, loss="hinge", max_epochs=1, random_state=0).fit(BAGS, np.arange(12) % 2)
    with pytest.raises(ValueError, match="'predict_proba' is not available for LearnedBoW"):
        to_module(learned, "predict_proba")


def test_an_estimator_that_is_not_fitted():
    with pytest.raises(NotFittedError):
        to_module(RBMHasher(4))


def test_the_estimator_does_not_change_with_its_module():
    """Modules have copies of the fitted arrays."""
    hasher = ITQHasher(4, random_state=0).fit(ROWS)
    before = hasher.decision_function(ROWS)
    module = to_module(hasher, "decision_function")
    for value in module.buffers():
        value.zero_()
    np.testing.assert_array_equal(hasher.decision_function(ROWS), before)


def test_a_module_can_be_trained():
    learned = LearnedBoW(3, max_epochs=1, random_state=0).fit(BAGS, np.arange(12) % 2)
    module = to_module(learned, "decision_function").requires_grad_()
    module(torch.from_numpy(BAGS)).sum().backward()
    assert all(parameter.grad is not None for name, parameter in module.named_parameters() if "gamma" not in name)
