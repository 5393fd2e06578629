"""Each estimator fits and answers on a GPU, and a model that was fitted there gives the same answers on the CPU."""

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from tolerance import assert_close

from sklinvariant import DescriptorSets

ON_DEVICE = sorted(name for name, cls in ESTIMATORS.items() if "device" in cls._get_param_names())
CUDA = "cuda"
ANSWERS = ("predict_proba", "transform", "kneighbors")


def answers(model, X):
    """The answers of the methods that the model has, as arrays of floats; of neighbours, their distances."""
    found = [getattr(model, name)(X) for name in ANSWERS if hasattr(model, name)]
    found = [answer[0] if isinstance(answer, tuple) else answer for answer in found]
    return [np.asarray(x.values if isinstance(x, DescriptorSets) else x, dtype=np.float32) for x in found]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ON_DEVICE)
def test_answers_of_a_fit_on_a_gpu_are_those_of_the_cpu(name):
    estimator, X, y = example(name)
    model = estimator.set_params(device=CUDA).fit(X, y)
    on_gpu = answers(model, X)
    assert on_gpu
    for found, expected in zip(on_gpu, answers(model.set_params(device="cpu"), X), strict=True):
        assert_close(found, expected, rtol=1e-3)
