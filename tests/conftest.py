"""Fixtures of all tests."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

collect_ignore = ["ops/gpu/ahead_of_time.py"]  # a script that needs triton


def pytest_collection_modifyitems(config, items):
    if os.environ.get("CI") or os.environ.get("SLOW"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: runs with CI=true or SLOW=1"))


@pytest.fixture(autouse=True)
def same_process():
    """A test leaves the number of threads and the environment of the process as they were."""
    before = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    yield
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == before


@pytest.fixture
def global_random_seed():
    return int(os.environ.get("SKLINVARIANT_TEST_SEED", 0))


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return request.param


@pytest.fixture
def pyplot():
    """matplotlib as it is installed, without the settings of the user; figures are closed afterwards."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield pyplot
        pyplot.close("all")


@pytest.fixture
def shared_data():
    """The folder of real data beside a developer's checkout."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.exists():
        pytest.skip("the shared data is not beside this checkout")
    return folder


@pytest.fixture
def ragged(global_random_seed):
    """Bags of several sizes, an empty one among them, as a list of float64 arrays."""
    rng = np.random.RandomState(global_random_seed)
    return [rng.normal(size=(size, 4)) for size in (7, 3, 0, 12, 1, 5, 5, 5, 20)]


@pytest.fixture
def terminal(monkeypatch):
    """Progress bars are drawn, as in a terminal."""
    monkeypatch.setattr("sklinvariant.base._progress._is_terminal", lambda stream: True)


@pytest.fixture
def two_classes(global_random_seed):
    """40 bags of 15 descriptors whose spread depends on the class."""
    rng = np.random.RandomState(global_random_seed)
    y = np.arange(40) % 2
    return rng.normal(size=(40, 15, 3)) * (1 + 2 * y)[:, None, None], y
