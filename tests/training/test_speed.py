"""Lower precision and compiled networks, of every estimator that is trained in epochs."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from functorch.compile import make_boxed_func
from skorch.callbacks import Callback
from tolerance import assert_close
from torch._dynamo.backends.common import aot_autograd
from two_processes import needs_gloo, run_in_two_processes

import sklinvariant
from sklinvariant import distributed
from sklinvariant._precision import current_precision
from sklinvariant.aggregation import LearnedBoW
from sklinvariant.cluster import IICClusterer
from sklinvariant.hashing import NeighborHasher
from sklinvariant.networks import Objective
from sklinvariant.training import TrainedEstimator, WithOptimizer, _speed
from sklinvariant.training._speed import compiled_or_eager

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
    assert dtypes(model._state) == dtypes(reference._state)


def dtypes(state):
    return {name: value.dtype for name, value in state.items() if isinstance(value, np.ndarray)}


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


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_only_steps_have_the_precision(precision, monkeypatch):
    """Scores of held-out samples, callbacks and the end of a fit are float32."""
    seen = {}

    def note(where):
        seen[where] = current_precision(), torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")

    class Notes(Callback):
        def on_epoch_end(self, net, **kwargs):
            note("callback")

    def spied(function, where):
        def call(*args, **kwargs):
            note(where)
            return function(*args, **kwargs)

        return call

    for name in ("_export", "_finish", "_results"):
        monkeypatch.setattr(LearnedBoW, name, spied(getattr(LearnedBoW, name), name))
    monkeypatch.setattr(Objective, "forward", spied(Objective.forward, "step"))
    X, y = np.random.RandomState(0).normal(size=(40, 6, 3)).astype(np.float32), np.arange(40) % 2
    LearnedBoW(3, max_epochs=1, precision=precision, callbacks=[Notes()]).fit(X, y)
    step = seen.pop("step")
    assert len(seen) == 4
    assert set(seen.values()) == {("float32", "highest", False)}
    assert step == (precision, "high" if precision == "tf32" else "highest", precision == "bf16")
    assert torch.get_float32_matmul_precision() == "highest"


def compilable(name):
    return issubclass(dict(sklinvariant.all_estimators())[name], WithOptimizer)


def test_estimators_with_an_optimizer_can_be_compiled():
    assert [name for name in TRAINED if not compilable(name)] == ["AutoPooling", "RBMHasher"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor", "ignore:.*should not be instantiated")  # dynamo's
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
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
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler here")
def test_the_compiler_of_this_machine():
    X = np.random.RandomState(0).normal(size=(200, 8)).astype(np.float32)
    losses = []
    for compile in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler
            warnings.filterwarnings("error", message="torch.compile failed")
            model = NeighborHasher(4, max_epochs=2, random_state=0, compile=compile).fit(X)
        losses.append([row["loss"] for row in model.history_])
    assert_close(np.array(losses[1]), np.array(losses[0]), rtol=1e-3)


def fails(graph, inputs):
    raise OSError("no C++ compiler was found")


def works(graph, inputs):
    return make_boxed_func(graph.forward)


BACKENDS = {
    "none": "eager",
    "forward": fails,
    "backward": aot_autograd(fw_compiler=works, bw_compiler=fails),
}


def compile_with(monkeypatch, backend):
    """Replace the compiler of torch, which takes minutes."""
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend=backend))


@pytest.mark.parametrize("stage", ["forward", "backward"])
def test_without_a_compiler_a_warning_says_so_and_the_network_is_trained(stage, monkeypatch):
    compile_with(monkeypatch, BACKENDS[stage])
    X = np.random.RandomState(0).normal(size=(100, 8)).astype(np.float32)
    model = NeighborHasher(4, max_epochs=2, random_state=0, compile=True)
    with pytest.warns(RuntimeWarning, match="torch.compile failed .*no C.. compiler was found"):
        model.fit(X)
    expected = NeighborHasher(4, max_epochs=2, random_state=0).fit(X)
    assert_close(model.decision_function(X), expected.decision_function(X))


def test_buffers_are_those_before_the_step_that_failed():
    module = torch.nn.BatchNorm1d(3)
    module._compiled_call_impl = module.forward
    x = torch.rand(10, 3)

    def step():
        module.forward(x)
        if module._compiled_call_impl is not None:
            raise RuntimeError("the compiled graph failed")
        return module.num_batches_tracked.item()

    with pytest.warns(RuntimeWarning, match="the compiled graph failed"):
        assert compiled_or_eager(module, step) == 1


def test_an_error_of_the_network_itself_is_not_called_one_of_the_compiler():
    """It is raised again without a compiler, and there is no warning, which would be an error here."""
    module = torch.nn.Identity()
    module._compiled_call_impl = module.forward

    def step():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        compiled_or_eager(module, step)


def test_an_error_in_one_of_several_processes_may_have_another_cause(monkeypatch):
    monkeypatch.setattr(_speed, "is_shared", lambda: True)
    module = torch.nn.Identity()
    module._compiled_call_impl = module.forward

    def step():
        raise RuntimeError("connection closed")

    with pytest.raises(
        RuntimeError, match=r"\(RuntimeError: connection closed\).*torch.compile is the cause, set comp"
    ):
        compiled_or_eager(module, step)


SGD: dict = {"optimizer": "sgd", "random_state": 0, "compile": True}  # Adam makes steps of rounding errors


def clusterer():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU())
    return IICClusterer(3, network=network, n_heads=2, max_epochs=2, batch_size=20, **SGD)


def fits_whose_compilation_fails_in_one_process(folder):
    X, results = np.random.RandomState(0).normal(size=(50, 8)).astype(np.float32), {}
    for stage in ("forward", "backward"):
        with distributed() as rank, pytest.MonkeyPatch.context() as monkeypatch:
            torch._dynamo.reset()
            compile_with(monkeypatch, BACKENDS[stage if rank == 1 else "none"])
            results[stage] = clusterer().fit(X).predict_proba(X)
    return results


@needs_gloo
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
def test_a_compilation_that_fails_in_one_of_several_processes(tmp_path):
    """Steps add up statistics of all processes, so that a process which repeats a step would be a step behind."""
    X = np.random.RandomState(0).normal(size=(50, 8)).astype(np.float32)
    expected = clusterer().set_params(compile=False).fit(X).predict_proba(X)
    case = "fits_whose_compilation_fails_in_one_process"
    for results in run_in_two_processes(__file__, tmp_path, [case]):
        assert isinstance(results[case], dict), results[case]
        for proba in results[case].values():
            assert_close(proba, expected)
