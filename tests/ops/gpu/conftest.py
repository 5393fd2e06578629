"""Kernels run on a GPU if there is one, and otherwise in Triton's interpreter on tensors of the CPU."""

import importlib.util
import os

import pytest
import torch

from sklinvariant.ops import _kernels

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a module with kernels is imported


@pytest.fixture
def gpu():
    """The device on which kernels are tested."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (it has no build for this platform)")
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def kernels(gpu, monkeypatch):
    """Operators run as kernels on the device ``gpu``, which is returned."""
    monkeypatch.setattr(_kernels, "KERNEL_DEVICES", {gpu})
    return gpu


@pytest.fixture
def count_launches(kernels, monkeypatch):
    """A list of the names of the kernels that were launched, so that a test can see that they ran."""
    names, run = [], _kernels._run
    assert _kernels.has_kernel(torch.zeros(1, device=kernels))  # launches the trial kernel now, which is not counted

    def counted(kernel, *args):
        names.append(kernel.fn.__name__)
        run(kernel, *args)

    monkeypatch.setattr(_kernels, "_run", counted)
    return names
