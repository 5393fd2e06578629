"""Tensors of a GPU stay there: a Pipeline copies neither samples nor answers through the host."""

import pytest
import torch
from sklearn.pipeline import make_pipeline
from torch.profiler import ProfilerActivity, profile

from sklinvariant import PCAHasher, RBMHasher
from sklinvariant.aggregation import VLAD, LearnedVLAD

SMALL = 4096  # bytes of parameters and of single numbers, which may be copied


def copied_bytes(call):
    """Bytes of the largest copy between host and GPU during a call."""
    call()  # the first call compiles kernels
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as measured:
        call()
        torch.cuda.synchronize()
    trace = measured.profiler.kineto_results.events()
    return max((e.nbytes() for e in trace if "Memcpy HtoD" in e.name() or "Memcpy DtoH" in e.name()), default=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(
    "estimator",
    [PCAHasher(8), make_pipeline(PCAHasher(16), RBMHasher(8, max_epochs=1)), VLAD(4), LearnedVLAD(4, max_epochs=1)],
)
def test_no_sample_is_copied(estimator):
    X = torch.rand(20_000, 64, device="cuda")
    if "VLAD" in type(estimator).__name__:
        X = X.view(1000, 20, 64)
    estimator.fit(X, torch.arange(len(X)).numpy() % 2)
    answer = estimator.transform(X)
    assert answer.device.type == "cuda"
    assert copied_bytes(lambda: estimator.transform(X)) <= SMALL + 64 * 64 * 4
