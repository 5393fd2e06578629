"""Lower precision and compiled networks, of every estimator that is trained in epochs."""

import warnings

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from tolerance import assert_close

import sklinvariant
from sklinvariant.hashing import NeighborHasher
from sklinvariant.training import TrainedEstimator, WithOptimizer

TRAINED = [
    name for name in ESTIMATORS if issubclass(dict(sklinvariant.all_estimators()).get(name, object), TrainedEstimator)
]


def short(name, **params):
    """An example of an estimator with two epochs, and its data as float32."""
    estimator, X, y = example(name)
    return estimator.set_params(max_epochs=2, random_state=0, **params), single(X), y


def single(X):
    if isinstance(X, np.ndarray):
        return X.astype(np.float32) if X.dtype == np.float64 else X
    return [single(x) for x in X]


def test_there_are_trained_estimators():
    assert len(TRAINED) >= 10


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", TRAINED)
def test_lower_precision_trains_a_float32_model(name, precision):
    model, X, y = short(name, precision=precision)
    model.fit(X, y)
    reference, _, _ = short(name)
    reference.fit(X, y)
    losses, expected = ([row["loss"] for row in fitted.history_] for fitted in (model, reference))
    assert_close(np.array(losses), np.array(expected), rtol=0.1, atol=0.1)
    dtypes = {
        value.dtype for value in model._state.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    }
    assert dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}


def test_products_are_rounded_in_bfloat16():
    """The loss of an epoch shows it: it differs by more than float32 rounds, and by less than bfloat16 does."""
    X = np.random.RandomState(0).normal(size=(100, 8)).astype(np.float32)
    losses = [
        NeighborHasher(4, max_epochs=1, random_state=0, precision=precision).fit(X).history_[0]["loss"]
        for precision in ("float32", "bf16")
    ]
    assert 1e-6 < abs(losses[1] / losses[0] - 1) < 1e-2


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_float64_needs_full_precision(precision):
    X = np.random.RandomState(0).normal(size=(50, 8))
    with pytest.raises(ValueError, match=f"precision='{precision}' was given, but X is float64"):
        NeighborHasher(4, precision=precision).fit(X)


def test_the_precision_of_the_training_is_that_of_the_switches(monkeypatch):
    """Inside a training in TF32 the switches of torch are on, and outside they are those of the user."""
    X = np.random.RandomState(0).normal(size=(50, 8)).astype(np.float32)
    seen = []

    def loss_seen(module, batch):
        seen.append(torch.get_float32_matmul_precision())

    monkeypatch.setattr("sklinvariant.training._loop.compiled_or_eager", spy_on(loss_seen))
    for precision in ("float32", "tf32", "bf16"):
        NeighborHasher(4, max_epochs=1, precision=precision).fit(X)
        assert set(seen) == {"high" if precision == "tf32" else "highest"}
        seen.clear()
        assert torch.get_float32_matmul_precision() == "highest"


def spy_on(look):
    def call(module, batch):
        look(module, batch)
        return module(batch)

    return call


def compilable(name):
    return issubclass(dict(sklinvariant.all_estimators())[name], WithOptimizer)


def test_estimators_with_an_optimizer_can_be_compiled():
    assert [name for name in TRAINED if not compilable(name)] == ["AutoPooling", "RBMHasher"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor", "ignore:.*should not be instantiated")  # dynamo's
@pytest.mark.parametrize("name", [name for name in TRAINED if compilable(name)])
def test_a_compiled_network_gives_the_same_model(name, monkeypatch):
    """The compiler is replaced by one that runs the graphs that dynamo traces, to test the tracing and save minutes."""
    compiled = []
    compile_module = torch.nn.Module.compile

    def traced(module):
        compiled.append(module)
        compile_module(module, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    model, X, y = short(name, compile=True)
    model.fit(X, y)
    assert compiled
    expected, _, _ = short(name)
    expected.fit(X, y)
    losses = ([row["loss"] for row in fitted.history_] for fitted in (model, expected))
    assert_close(*map(np.array, losses), rtol=1e-3)


@pytest.mark.slow
def test_the_compiler_of_this_machine():
    X = np.random.RandomState(0).normal(size=(200, 8)).astype(np.float32)
    losses = []
    for compile in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler; if there is none, the network is not compiled
            model = NeighborHasher(4, max_epochs=2, random_state=0, compile=compile).fit(X)
        losses.append([row["loss"] for row in model.history_])
    assert_close(np.array(losses[1]), np.array(losses[0]), rtol=1e-3)


def test_without_a_compiler_a_warning_says_so_and_the_network_is_trained(monkeypatch):
    compile_module = torch.nn.Module.compile

    def fails(graph, inputs):
        raise OSError("no C++ compiler was found")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend=fails))
    X = np.random.RandomState(0).normal(size=(100, 8)).astype(np.float32)
    model = NeighborHasher(4, max_epochs=2, random_state=0, compile=True)
    with pytest.warns(RuntimeWarning, match="could not be compiled .*no C.. compiler was found"):
        model.fit(X)
    expected = NeighborHasher(4, max_epochs=2, random_state=0).fit(X)
    assert_close(model.decision_function(X), expected.decision_function(X))
