"""The switches of torch for lower precision: own inside a method of an estimator, those of the user outside."""

import os
import threading
import time

import numpy as np
import pytest
import torch

from sklinvariant import PCAHasher, _precision
from sklinvariant._precision import computing_in, current_precision, own_switches

new_switches = pytest.mark.skipif(
    not _precision._HAS_SWITCHES, reason="this version of torch has only the old switches"
)


def switches():
    return _precision._read()


@pytest.fixture(autouse=True)
def restored():
    before = switches()
    yield
    _precision._restore(*before)
    assert switches() == before


@pytest.fixture
def with_cuda(monkeypatch):
    """As on a machine with a GPU, whose switches can be set without one."""
    monkeypatch.setattr(_precision, "_has_cuda", lambda: True)


def of_user(name):
    backends = torch.backends
    if name == "medium":
        torch.set_float32_matmul_precision("medium")
    elif name == "tf32":
        backends.cuda.matmul.fp32_precision = "tf32"
    elif name == "convolutions":
        backends.mkldnn.conv.fp32_precision = "bf16"
    elif name == "all":
        backends.fp32_precision = "tf32"


@new_switches
@pytest.mark.parametrize("name", ["defaults", "medium", "tf32", "convolutions", "all"])
def test_inside_products_are_exact_and_outside_as_the_user_set_them(name):
    of_user(name)
    before = switches()
    try:
        with own_switches():
            assert all(_precision._is_exact(*switch) for switch in _precision._SWITCHES)
            with computing_in("tf32"):
                assert current_precision() == "tf32"
                assert not _precision._is_exact("cuda", "matmul")
                assert _precision._is_exact("mkldnn", "matmul")
            assert all(_precision._is_exact(*switch) for switch in _precision._SWITCHES)
        assert switches() == before
    finally:
        torch.backends.fp32_precision = "none"


def test_methods_of_estimators_set_the_switches(with_cuda, monkeypatch):
    torch.set_float32_matmul_precision("medium")
    seen = []
    read = PCAHasher._read
    monkeypatch.setattr(
        PCAHasher, "_read", lambda *args, **kw: seen.append(torch.get_float32_matmul_precision()) or read(*args, **kw)
    )
    PCAHasher(2).fit(np.random.RandomState(0).normal(size=(20, 4)))
    assert seen
    assert set(seen) == {"highest"}
    assert torch.get_float32_matmul_precision() == "medium"


def test_inside_of_a_method_nothing_is_switched_again(with_cuda):
    assert not _precision.switches_are_own()
    with own_switches():
        assert _precision.switches_are_own()
        with computing_in("tf32"):
            assert _precision.switches_are_own()


def test_after_an_error_the_switches_are_restored():
    torch.set_float32_matmul_precision("medium")
    with pytest.raises(KeyError), own_switches():
        raise KeyError
    assert torch.get_float32_matmul_precision() == "medium"


def test_a_thread_that_computes_in_float32_keeps_it_while_another_asks_for_tf32():
    torch.set_float32_matmul_precision("medium")
    inside, leave = threading.Event(), threading.Event()

    def other():
        with computing_in("tf32"):
            inside.set()
            leave.wait(10)

    with own_switches():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "high"  # only the other thread computes now
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of this platform are not forked")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_was_forked_while_another_thread_computed():
    """It does not wait for the lock of that thread, and has the switches of the user."""
    torch.set_float32_matmul_precision("medium")
    inside, leave = threading.Event(), threading.Event()

    def other():
        with own_switches(), _precision._lock:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        good = torch.get_float32_matmul_precision() == "medium"
        with own_switches():
            good = good and torch.get_float32_matmul_precision() == "highest"
        os._exit(0 if good and torch.get_float32_matmul_precision() == "medium" else 1)
    leave.set()
    thread.join()
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        pytest.fail("the child waits for ever")
    assert status == 0
