"""When an operator runs as a Triton kernel."""

import importlib.util
import sys

import pytest
import torch

from sklinvariant._precision import computing_in
from sklinvariant.ops import _kernels
from sklinvariant.ops._kernels import dot_precision, has_kernel, padded


@pytest.fixture
def fake_gpu(monkeypatch):
    """The CPU counts as a device with kernels, and the trial has not run."""
    monkeypatch.setattr(_kernels, "KERNEL_DEVICES", {"cpu"})
    monkeypatch.setattr(_kernels, "_WORKING", {})


def trial(monkeypatch, runs_on):
    module = type(sys)("sklinvariant.ops.gpu._trial")
    module.runs_on = runs_on
    monkeypatch.setitem(sys.modules, module.__name__, module)
    set_installed(monkeypatch, True)


def set_installed(monkeypatch, triton):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *of: triton if name == "triton" else find(name, *of))


def test_tensors_of_the_cpu_have_no_kernel():
    assert not has_kernel(torch.zeros(2))


def test_all_tensors_must_have_a_supported_dtype(fake_gpu, monkeypatch):
    trial(monkeypatch, lambda device: True)
    single, double = torch.zeros(2), torch.zeros(2).double()
    assert has_kernel(single, single.half())
    assert not has_kernel(single, double)
    assert has_kernel(double, dtypes=[torch.float64])


def test_without_triton_torch_computes(fake_gpu, monkeypatch):
    set_installed(monkeypatch, None)
    assert not has_kernel(torch.zeros(2))


def test_if_no_kernel_can_be_compiled_torch_computes_and_one_warning_says_so(fake_gpu, monkeypatch):
    def fails(device):
        raise RuntimeError("no C compiler")

    trial(monkeypatch, fails)
    with pytest.warns(RuntimeWarning, match="no C compiler"):
        assert not has_kernel(torch.zeros(2))
    assert not has_kernel(torch.zeros(2))  # a second warning would be an error


def test_precision_of_products(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    single, half = torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16)
    assert dot_precision(single) == "ieee"
    assert dot_precision(single, half) == "bf16"
    for precision in ("tf32", "bf16"):
        with computing_in(precision):
            assert dot_precision(single) == precision
    assert dot_precision(single) == "ieee"


def test_padded_sizes_are_powers_of_two():
    assert [padded(size) for size in (1, 16, 17, 128, 500)] == [16, 16, 32, 128, 128]
    assert [padded(size, least=1, most=1024) for size in (1, 2, 3, 500)] == [1, 2, 4, 512]
