"""Concurrent fits give the same models as sequential ones, and leave global generators unchanged."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from examples import ESTIMATORS
from sklearn.base import clone
from test_settings import answers, assert_same_answers, plain_answers, quick_example
from tolerance import assert_close

from sklinvariant._settings import borrowed_generators
from sklinvariant.aggregation import LearnedAggregation
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.networks import Bags, MeanEncoder, Units

# set for all threads by the main one: a thread cannot ignore warnings for itself
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
N_THREADS = 8


def in_threads(function):
    """The results of a function in several threads that start together."""
    gate = threading.Barrier(N_THREADS)

    def run(_):
        gate.wait()
        return function()

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(run, range(N_THREADS)))


def global_states():
    kind, keys, *rest = np.random.get_state()
    return torch.default_generator.get_state().tolist(), kind, keys.tolist(), rest


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_global_generators_are_neither_read_nor_moved(name):
    seed_all(1)
    before = global_states()
    actual = answers(*quick_example(name))
    assert global_states() == before
    seed_all(2)
    assert_same_answers(actual, plain_answers.__wrapped__(name))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fits_in_threads_give_the_model_of_one(name):
    estimator, X, y = quick_example(name)
    expected = plain_answers(name)
    before = global_states()
    for actual in in_threads(lambda: answers(clone(estimator), X, y)):
        assert_same_answers(actual, expected)
    assert global_states() == before


class Noisy(torch.nn.Module):
    """Draws from torch's global generator whenever it is called."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, x):
        x = torch.nn.functional.dropout(self.made(x), 0.5, self.training)
        return x + 0.1 * torch.rand(x.shape, dtype=x.dtype, device=x.device)


def noisy_encoder(d):
    return Noisy(torch.nn.Linear(d, 4))


def noisy_backbone():
    return Noisy(torch.nn.Conv2d(1, 2, 3))


class NoisyLoss(torch.nn.Module):
    def forward(self, representation, y):
        return (torch.nn.functional.dropout(representation, 0.5).mean(1) - y).square().mean()


def noisy_map(representation):
    return representation + 0.1 * torch.rand(representation.shape)


def linear(n_in):
    layer = torch.nn.utils.skip_init(torch.nn.Linear, n_in, 4)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(layer.bias)
    return layer


NOISY = {
    "a module with dropout": ("LearnedAggregation", {"encoder": Noisy(linear(4))}),
    "a function that makes a module": ("LearnedAggregation", {"encoder": noisy_encoder}),
    "a lazy module": ("LearnedAggregation", {"encoder": torch.nn.LazyLinear(3)}),
    "a loss": ("LearnedAggregation", {"encoder": linear(4), "loss": NoisyLoss()}),
    "a feature map": ("LearnedAggregation", {"encoder": linear(4), "feature_map": noisy_map}),
    "a trunk": ("IICClusterer", {"network": Noisy(linear(6))}),
    "a lazy trunk": ("IICClusterer", {"network": torch.nn.LazyLinear(3)}),
    "a trunk that is tuned": ("IICClassifier", {"clusterer__network": Noisy(linear(6))}),
    "a backbone": ("BackbonePatches", {"module": noisy_backbone}),
}


@pytest.mark.parametrize("what", NOISY)
def test_what_modules_draw_is_seeded_by_us(what):
    name, params = NOISY[what]
    estimator, X, y = quick_example(name)
    estimator.set_params(**params)
    seed_all(1)
    before = global_states()
    expected = answers(clone(estimator), X, y)
    assert global_states() == before
    seed_all(2)
    before = global_states()
    for actual in in_threads(lambda: answers(clone(estimator), X, y)):
        assert_same_answers(actual, expected)
    assert global_states() == before


def test_dropout_draws_anew_in_each_step():
    drawn = []

    class Remembering(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = torch.nn.Linear(4, 2)

        def forward(self, x):
            drawn.append((self.training, float(torch.rand(()))))
            return self.inside(x)

        def __deepcopy__(self, memo):
            return self

    _, X, y = quick_example("LearnedAggregation")
    model = LearnedAggregation(Remembering(), max_epochs=3, batch_size=8, random_state=0).fit(X, y)
    assert len({number for training, number in drawn if training}) >= 9
    drawn.clear()
    model.transform(X)
    model.transform(X)
    assert len({number for _, number in drawn}) == 1


def test_gradients_are_those_of_the_dropout_that_was_drawn():
    # the way forward is walked again on the way back: with another mask the gradient would be another
    encoder = MeanEncoder(torch.nn.Dropout(0.5), Units(np.zeros(4), 1.0), torch.float64, chunk_size=5)
    encoder.generator = torch.Generator().manual_seed(0)
    values = torch.rand(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    total = encoder(Bags(values, np.array([0, 12]))).sum()
    (gradient,) = torch.autograd.grad(total, values)
    assert 0 < (gradient == 0).double().mean() < 1
    assert_close((gradient * values).sum(), total)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_forgets_the_lock_of_other_threads():
    started, done = threading.Event(), threading.Event()

    def hold():
        with borrowed_generators(0):
            started.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    started.wait(30)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        with borrowed_generators(1):
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    done.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_backbone_handed_on_leaves_generators_alone():
    model = BackbonePatches(noisy_backbone).fit(np.zeros((2, 8, 8), np.float32))
    run = model.feature_maps("cpu")
    before = global_states()
    run(torch.zeros(1, 8, 8, 1))
    assert global_states() == before
