"""The kernel that shows whether Triton works."""

import torch


def test_the_trial_runs(gpu):
    from sklinvariant.ops.gpu._trial import runs_on

    assert runs_on(torch.device(gpu))
