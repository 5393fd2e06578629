"""The device of computations, and generators that do not affect the global ones."""

import numpy as np
import pytest
import torch

from sklinvariant.base import resolve_device, torch_generator


def test_auto_is_the_device_of_the_data_or_the_fastest(monkeypatch):
    meta = torch.device("meta")
    assert resolve_device("auto", meta) == meta
    for available, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert resolve_device("auto").type == kind
    assert resolve_device("cpu", meta) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:101"])
def test_devices_that_are_not_there(device):
    with pytest.raises(ValueError, match=f"device='{device}' is not available on this machine .*Use 'auto' or 'cpu'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["CUDA", "gpu", "nowhere"])
def test_names_that_are_no_devices(device):
    with pytest.raises(
        ValueError, match=f"^device='{device}' is not the name of a device. Use 'auto', 'cpu' or 'cuda'$"
    ):
        resolve_device(device)


def test_of_a_long_error_of_torch_the_first_sentence_is_kept(monkeypatch):
    def fail(*args, **options):
        raise NotImplementedError("no such backend. It may be missing.\n\nCPU: registered at RegisterCPU.cpp")

    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(ValueError, match=r"^device='mps' is not available on this machine \(no such backend\)\. Use"):
        resolve_device("mps")


def test_the_meta_device_is_refused():
    for device in ("meta", torch.device("meta")):
        with pytest.raises(ValueError, match=r"device=.*meta.* is not valid, because .* 'auto' or 'cpu'"):
            resolve_device(device)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_cuda_in_a_forked_process(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True, raising=False)
    with pytest.raises(RuntimeError, match=r"forked from one that had used CUDA. Start .* 'spawn'.* device='cpu'"):
        resolve_device(device)
    assert resolve_device("cpu").type == "cpu"


def test_generators_depend_on_the_random_state_alone():
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (torch.rand(3, generator=torch_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = np.random.RandomState(0)  # which moves on
    assert torch.equal(torch.rand(3, generator=torch_generator(state)), first)
    assert not torch.equal(torch.rand(3, generator=torch_generator(state)), first)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)
