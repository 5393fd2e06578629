"""Fits of trained estimators by two processes: the same model as alone, in all processes."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from callbacks import Interrupts, StopsAfter
from examples import TRAINED, answers, losses, trained_example
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors, kneighbors_graph
from tolerance import assert_close
from two_processes import needs_gloo, run_in_two_processes

import sklinvariant
from sklinvariant import (
    VLAD,
    AutoPooling,
    EquivariantAutoencoder,
    IICClusterer,
    IICSegmenter,
    ITQHasher,
    LearnedBoW,
    LearnedVLAD,
    NeighborHasher,
    PCAHasher,
    RBMHasher,
    SparseAutoencoder,
    distributed,
)
from sklinvariant._distributed import alone

pytestmark = [needs_gloo, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

RESUMED = ["IICClusterer", "LearnedVLAD", "RBMHasher", "SparseAutoencoder"]
_RNG = np.random.RandomState(0)
ROWS = _RNG.rand(30, 6)
IMAGES = _RNG.rand(9, 12, 12, 2).astype(np.float32)
IMAGES[::2, :6] *= 0.2  # two kinds
BAGS, CLASSES = _RNG.normal(size=(21, 6, 4)) + (np.arange(21) % 3)[:, None, None], np.arange(21) % 3


def spread(representation, y):
    """A loss that compares the samples of a batch with each other."""
    distances = (representation[:, None] - representation).square().sum(2)
    same = y[:, None] == y
    return distances[same].mean() - 0.1 * distances[~same].mean()


def small_cnn(seed):
    """A network with batch normalisation, whose initial weights are those of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2)
        )


def quick_clusterer(**settings):
    return IICClusterer(2, **{"n_heads": 2, "batch_size": 7, "max_epochs": 2, "random_state": 0, **settings})


QUICK: dict = {"max_epochs": 2, "random_state": 0}
# fits that the examples of all estimators do not contain: a model, and the arguments of fit
SPECIAL = {
    "overclusters and repeats": (quick_clusterer(n_overclusters=5, n_repeats=3, n_neighbors=4), ROWS),
    "views, and a network of the user": (
        quick_clusterer(network=small_cnn(0), batch_size=5, optimizer="sgd"),
        IMAGES,
    ),
    "a batch of one image": (IICSegmenter(2, width=4, batch_size=1, **QUICK), IMAGES[:3]),
    "neighbours of rows": (NeighborHasher(5, neighbors=NearestNeighbors(n_neighbors=3), batch_size=8, **QUICK), ROWS),
    "pairs of rows": (NeighborHasher(5, pairs="explicit", **QUICK), ROWS.reshape(15, 2, 6)),
    "a last batch of one bag": (
        LearnedBoW(3, batch_size=4, early_stopping=True, validation_fraction=0.2, **QUICK),
        BAGS,
        CLASSES,
    ),
    "a loss of pairs": (LearnedVLAD(2, loss=spread, batch_size=7, optimizer="sgd", **QUICK), BAGS, CLASSES),
    "weights of bags": (LearnedVLAD(2, batch_size=7, **QUICK), BAGS, CLASSES, CLASSES + 1.0),
    "chains": (RBMHasher(5, persistent=True, sparsity=0.1, visible="gaussian", batch_size=9, **QUICK), ROWS),
    "without momentum": (RBMHasher(5, momentum=0.0, cd_steps=2, batch_size=9, **QUICK), ROWS),
    "lbfgs": (SparseAutoencoder(3, optimizer="lbfgs", **QUICK), ROWS),
    "early end": (SparseAutoencoder(3, tol=1.0, n_iter_no_change=2, max_epochs=9, random_state=0), ROWS),
    "cross-entropy": (EquivariantAutoencoder(2, width=2, depth=1, loss="bce", pooling=None, **QUICK), IMAGES),
    "standardised pooling": (AutoPooling(2, solver="sgd", standardize=True, batch_size=7, **QUICK), ROWS),
}


# Cases, which run in each of two processes. They return what pickle can copy.


def each_estimator(folder):
    results = {}
    with distributed() as rank:
        for name in TRAINED:
            results[name] = _fitted(*_short(name))
    return rank, results


def special_fits(folder):
    with distributed():
        return {name: _fitted(clone(model), *given) for name, (model, *given) in SPECIAL.items()}


def parts_and_warm_start(folder):
    with distributed():
        return _in_parts()


def interrupted(folder):
    """Checkpoints that are resumed alone."""
    with distributed() as rank:
        for name in RESUMED:
            model, X, y = _checkpointed(name, folder / f"{name} of process {rank}")
            with pytest.raises(KeyboardInterrupt):
                model.fit(X, y)


def resumed(folder):
    """Models from checkpoints that were written alone, and that only process 0 can read."""
    results = {}
    with distributed() as rank:
        for name in RESUMED:
            model, X, y = _checkpointed(name, folder / (name if rank == 0 else "nothing"))
            results[name] = _fitted(model.set_params(callbacks=None), X, y)
    return results


def each_estimator_with_shards(folder):
    results = {}
    with distributed(shards=True) as rank:
        for name in sorted({*TRAINED} - {"AutoPooling"}):
            estimator, X, y = _short(name)
            half = len(X) * 7 // 12
            part = slice(None, half) if rank == 0 else slice(half, None)
            estimator.fit(X[part], y[part])
            results[name] = losses(estimator), [np.nan_to_num(answer) for answer in answers(estimator, X)]
    return results


def all_rows_from_shards(folder):
    """Steps over all rows from a common start. The unit of the rows is not the same in both parts."""
    with distributed(shards=True) as rank:
        return _from_common_start([ROWS[:9], 1000 * ROWS[9:]][rank])


def shards_in_parts(folder):
    """Parts of shards, and a fit that continues."""
    with distributed(shards=True) as rank:
        model = NeighborHasher(5, batch_size=4, warm_start=True, **QUICK)
        for rows in (ROWS[rank:12:2], ROWS[12 + rank :: 2]):
            model.partial_fit(rows)
        neighbors = NeighborHasher(5, batch_size=4, neighbors=NearestNeighbors(n_neighbors=3), **QUICK)
        fits = [model.fit(ROWS[rank::2]), neighbors.fit(ROWS[rank::2])]
        return losses(model), *(fit.decision_function(ROWS) for fit in fits)


def statistics_of_shards(folder):
    """Fits to statistics, of parts that are memory-mapped."""
    with distributed(shards=True) as rank:
        np.save(folder / f"part{rank}.npy", [ROWS[:12], ROWS[12:]][rank])
        rows = np.load(folder / f"part{rank}.npy", mmap_mode="r")
        clips = np.arange(len(rows)) // 6
        fits = [PCAHasher(3).fit(rows), ITQHasher(3).fit(rows), AutoPooling(2, random_state=0).fit(rows, groups=clips)]
        vocabulary = VLAD(3, random_state=0, subsample=90).fit([BAGS[:6], BAGS[6:]][rank])
    return [model.transform(ROWS) for model in fits] + [vocabulary.codebook_]


def interrupted_with_shards(folder):
    with distributed(shards=True) as rank:
        model = IICClusterer(2, n_heads=2, max_epochs=4, random_state=0, checkpoint=folder / "shards")
        with pytest.raises(KeyboardInterrupt):
            clone(model).set_params(callbacks=[Interrupts(3)]).fit(ROWS[rank::2])
        before = (folder / "shards").exists()
        model.fit(ROWS[rank::2])
        return before, losses(model), model.predict_proba(ROWS)


def different_widths(folder):
    with distributed(shards=True) as rank:
        NeighborHasher(5).fit(ROWS[:, rank:])


def graph_of_one_shard(folder):
    with distributed(shards=True) as rank:
        NeighborHasher(5).fit(ROWS, graph=kneighbors_graph(ROWS, 3) if rank else None)


def different_parameters_with_shards(folder):
    with distributed(shards=True) as rank:
        SparseAutoencoder(3, max_epochs=1 + rank).fit(ROWS)


def pooling_with_shards(folder):
    with distributed(shards=True):
        AutoPooling(2, solver="sgd").fit(ROWS)


def uneven_turns(folder):
    with distributed(shards=True) as rank:
        quick_clusterer(n_overclusters=3).fit(ROWS[: 10 + 9 * rank])


def without_seed(folder):
    with distributed():
        return _fitted(SparseAutoencoder(3, max_epochs=1, random_state=None), ROWS)


def different_networks(folder):
    with distributed() as rank:
        return _fitted(quick_clusterer(network=small_cnn(rank), init="random"), IMAGES)


def different_sizes(folder):
    with distributed() as rank:
        SparseAutoencoder(3).fit(ROWS[: 30 - rank])


def different_rows(folder):
    with distributed() as rank:
        SparseAutoencoder(3).fit(ROWS[15 * rank : 15 * rank + 15])


def different_dtypes(folder):
    with distributed() as rank:
        SparseAutoencoder(3).fit(ROWS.astype([np.float32, np.float64][rank]))


def different_dtypes_of_shards(folder):
    with distributed(shards=True) as rank:
        SparseAutoencoder(3).fit(ROWS.astype([np.float32, np.float64][rank]))


def different_parameters(folder):
    with distributed() as rank:
        SparseAutoencoder(3, learning_rate=0.1 * (1 + rank)).fit(ROWS)


def missing_values(folder):
    with distributed() as rank:
        SparseAutoencoder(3).fit(np.where(rank, np.nan, ROWS))


def missing_values_of_neighbors(folder):
    with distributed() as rank:
        NeighborHasher(3).fit(np.where(rank, np.nan, ROWS))


def missing_values_of_frames(folder):
    with distributed() as rank:
        AutoPooling(3, solver="sgd").fit(np.where(rank, np.nan, ROWS))


def missing_values_of_wide_frames(folder):
    """The default solver of so many features is "sgd"."""
    with distributed() as rank:
        AutoPooling(2).fit(np.where(rank, np.nan, np.ones((3, 8193), np.float32)))


def negative_wide_frames(folder):
    with distributed() as rank:
        AutoPooling(2).fit(np.where(rank, -1.0, np.ones((3, 8193), np.float32)))


def missing_values_of_moments(folder):
    """With "moment" each process computes alone."""
    with distributed() as rank:
        if rank:
            AutoPooling(2).fit(np.where(rank, np.nan, ROWS))


def wrong_checkpoint(folder):
    with distributed() as rank:
        if rank == 0:
            (folder / "wrong").write_text("no checkpoint")
        SparseAutoencoder(3, checkpoint=folder / "wrong").fit(ROWS)


def diverging(folder):
    with distributed():
        SparseAutoencoder(3, optimizer="sgd", learning_rate=1e30, batch_size=9, random_state=0).fit(ROWS)


def stopped_by_one(folder):
    """A callback of scikit-learn stops the fit in process 1 only."""
    with distributed() as rank:
        model = SparseAutoencoder(3, max_epochs=5, random_state=0).set_callbacks(StopsAfter(2 if rank else None))
        return model.fit(ROWS).n_iter_


def fits_alone(folder):
    """Fits outside of the context, after it, and in another thread do not wait for the other process."""
    rank = torch.distributed.get_rank()
    models = [SparseAutoencoder(3, max_epochs=1 + rank, random_state=0) for _ in range(3)]
    with distributed():
        thread = threading.Thread(target=models[1].fit, args=(ROWS,))
        thread.start()
        thread.join()
    models[2].fit(ROWS)
    return models[1].n_iter_, models[2].n_iter_


CASES = [each_estimator, parts_and_warm_start, without_seed, different_networks, stopped_by_one, fits_alone]
CASES += [different_sizes, different_rows, different_parameters, missing_values, wrong_checkpoint, diverging]
CASES += [different_dtypes, different_dtypes_of_shards, missing_values_of_neighbors, missing_values_of_frames]
CASES += [all_rows_from_shards, statistics_of_shards, shards_in_parts, interrupted_with_shards]
CASES += [missing_values_of_wide_frames, negative_wide_frames, missing_values_of_moments]
CASES += [pooling_with_shards, uneven_turns, different_widths, graph_of_one_shard, different_parameters_with_shards]
SLOW_CASES = [special_fits, interrupted, resumed, each_estimator_with_shards]


def _short(name):
    estimator, X, y = trained_example(name)
    return estimator.set_params(max_epochs=2), X, y


def _checkpointed(name, path):
    estimator, X, y = trained_example(name)
    if name == "RBMHasher":
        estimator.set_params(persistent=True)
    return estimator.set_params(checkpoint=path, callbacks=[Interrupts(3)]), X, y


def _in_parts():
    model = RBMHasher(4, max_epochs=2, batch_size=9, random_state=0, warm_start=True)
    return _fitted(model.partial_fit(ROWS[:17]).partial_fit(ROWS[17:]), ROWS)


def _from_common_start(rows):
    """A fit of all rows in each step, which continues a model that every process has fitted alone."""
    model = SparseAutoencoder(3, optimizer="lbfgs", warm_start=True, **QUICK)
    with alone():
        model.fit(1000 * ROWS)
    model.fit(rows)
    return model.components_, model.intercept_, losses(model)


def _fitted(model, X, *given):
    """The losses of a fit, and what the model answers."""
    model.fit(X, *given)
    rows = X[:, 0] if getattr(model, "pairs", None) == "explicit" else X
    return losses(model), [np.nan_to_num(answer) for answer in answers(model, rows)]


# The tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def results(folder):
    return run_in_two_processes(__file__, folder, [case.__name__ for case in CASES])


@pytest.fixture(scope="module")
def slow_results(folder):
    for name in RESUMED:
        model, X, y = _checkpointed(name, folder / name)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    return run_in_two_processes(__file__, folder, [case.__name__ for case in SLOW_CASES])


def assert_same_fit(actual, expected):
    assert_close(actual[0], expected[0], rtol=1e-4)
    for one, other in zip(actual[1], expected[1], strict=True):
        assert_close(one, other, rtol=2e-3)


def assert_identical(results, case):
    """The losses and answers of both processes are the same numbers."""
    np.testing.assert_equal(results[0][case], results[1][case])


def test_each_estimator_as_alone(results):
    (first, fits), (second, others) = (result["each_estimator"] for result in results)
    assert (first, second) == (0, 1)
    np.testing.assert_equal(fits, others)
    for name in TRAINED:
        assert_same_fit(fits[name], _fitted(*_short(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIAL)
def test_special_fits_as_alone(slow_results, name):
    model, *given = SPECIAL[name]
    assert_identical(slow_results, "special_fits")
    assert_same_fit(slow_results[0]["special_fits"][name], _fitted(clone(model), *given))


def test_parts_as_alone(results):
    assert_identical(results, "parts_and_warm_start")
    assert_same_fit(results[0]["parts_and_warm_start"], _in_parts())


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_resumed_alone(slow_results, folder, name):
    assert slow_results[0]["interrupted"] is None
    assert not (folder / f"{name} of process 1").exists()
    model, X, y = _checkpointed(name, folder / f"{name} of process 0")
    actual = _fitted(clone(model).set_params(callbacks=None), X, y)
    assert_same_fit(actual, _fitted(clone(model).set_params(callbacks=None, checkpoint=None), X, y))


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_resumed_by_two_processes(slow_results, name):
    assert_identical(slow_results, "resumed")
    model, X, y = _checkpointed(name, None)
    assert_same_fit(slow_results[0]["resumed"][name], _fitted(model.set_params(callbacks=None), X, y))


@pytest.mark.parametrize("case", ["without_seed", "different_networks"])
def test_the_start_is_that_of_process_0(results, case):
    assert_identical(results, case)


@pytest.mark.parametrize(
    ("case", "messages"),
    [
        ("different_sizes", ["processes 0 and 1 have different samples .30 and 29 samples.. Pass the same"] * 2),
        ("different_rows", ["processes 0 and 1 have different samples. Pass the same"] * 2),
        ("different_dtypes", ["processes 0 and 1 compute in different precision"] * 2),
        ("different_dtypes_of_shards", ["processes 0 and 1 compute in different precision"] * 2),
        ("different_parameters", ["processes 0 and 1 have different learning_rate. Pass the same"] * 2),
        ("missing_values", ["process 1 of 2 failed, so the fit ends here as well. ValueError", "X contains NaN"]),
        ("missing_values_of_neighbors", ["process 1 of 2 failed", "X contains NaN"]),
        ("missing_values_of_frames", ["process 1 of 2 failed", "X contains NaN"]),
        ("missing_values_of_wide_frames", ["process 1 of 2 failed", "X contains NaN"]),
        ("negative_wide_frames", ["process 1 of 2 failed", "Negative values .* row 0 has -1"]),
        ("wrong_checkpoint", ["is not a checkpoint and was not changed"] * 2),
        ("pooling_with_shards", ["AutoPooling does not support distributed.shards=True."] * 2),
        ("different_parameters_with_shards", ["processes 0 and 1 have different max_epochs. Pass the same"] * 2),
        ("different_widths", ["process 1 of 2 failed", "X has 5 features, but NeighborHasher is expecting 6"]),
        ("graph_of_one_shard", ["processes 0 and 1 train with different batches"] * 2),
        ("uneven_turns", [r"they have \[\[2, 2\], \[3, 3\]\] in the turns"] * 2),
        ("diverging", ["the loss became .* in epoch"] * 2),
    ],
)
def test_errors_reach_all_processes(results, case, messages):
    for result, message in zip(results, messages, strict=True):
        assert issubclass(result[case][0], (ValueError, RuntimeError, FloatingPointError))
        assert re.search(message, result[case][1])


def test_an_error_of_moments_is_that_of_a_process(results):
    assert results[0]["missing_values_of_moments"] is None
    assert "X contains NaN" in results[1]["missing_values_of_moments"][1]


@pytest.mark.slow
def test_shards_give_one_model(slow_results):
    assert_identical(slow_results, "each_estimator_with_shards")
    for history, found in slow_results[0]["each_estimator_with_shards"].values():
        assert np.isfinite(history).all()
        assert all(np.ptp(answer) > 0 for answer in found)


def test_shards_of_parts(results):
    assert_identical(results, "shards_in_parts")
    assert len(results[0]["shards_in_parts"][0]) == 4


def test_statistics_of_shards_as_alone(results):
    assert_identical(results, "statistics_of_shards")
    codes, _, pooled, codebook = results[0]["statistics_of_shards"]
    np.testing.assert_array_equal(codes, PCAHasher(3).fit_transform(ROWS))
    assert_close(pooled, AutoPooling(2, random_state=0).fit(ROWS, groups=np.arange(30) // 6).transform(ROWS), rtol=1e-4)
    assert_close(codebook, VLAD(3, random_state=0, subsample=90).fit(BAGS).codebook_, rtol=1e-5)


def test_resumed_with_shards(results):
    assert_identical(results, "interrupted_with_shards")
    before, history, _ = results[0]["interrupted_with_shards"]
    assert before
    assert len(history) == 4


def test_steps_over_all_rows_of_shards_as_alone(results):
    assert_identical(results, "all_rows_from_shards")
    expected = _from_common_start(np.concatenate([ROWS[:9], 1000 * ROWS[9:]]))
    for one, other in zip(results[0]["all_rows_from_shards"], expected, strict=True):
        assert_close(one, other, rtol=1e-3)


def test_one_process_stops_all(results):
    assert [result["stopped_by_one"] for result in results] == [2, 2]


def test_fits_of_a_process_alone(results):
    assert [result["fits_alone"] for result in results] == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_the_example_under_torchrun(tmp_path):
    root = Path(sklinvariant.__file__).parents[1]
    script = root / "docs" / "examples" / "practice" / "distributed.py"
    if not script.exists():
        pytest.skip("the examples are not beside the package")
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    scores = []
    for launcher in ([], run):
        command = [sys.executable, *launcher, str(script)]
        printed = subprocess.check_output(command, cwd=tmp_path, env=environment, timeout=300, text=True)
        assert printed.count("adjusted Rand index") == 1
        scores.append(float(printed.split("index ")[1].split()[0]))
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert sklinvariant.load(tmp_path / "digits.sklinvariant").n_clusters == 10


DYING = """
import os, time
import numpy as np
import torch.distributed as dist
from skorch.callbacks import Callback
from sklinvariant import SparseAutoencoder, distributed

class Dies(Callback):
    def on_epoch_end(self, net, **kwargs):
        os._exit(3)

class Waits(Callback):
    def on_epoch_end(self, net, **kwargs):
        print("process 0 waits", flush=True)
        time.sleep(600)

dist.init_process_group("gloo")
with distributed() as rank:
    SparseAutoencoder(3, callbacks=[[Waits(), Dies()][rank]]).fit(np.random.default_rng(0).random((30, 4)))
"""


@pytest.mark.slow
def test_torchrun_ends_all_if_a_process_dies_between_exchanges(tmp_path):
    (tmp_path / "script.py").write_text(DYING)
    environment = {**os.environ, "PYTHONPATH": str(Path(sklinvariant.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py"]
    ended = subprocess.run(run, cwd=tmp_path, env=environment, timeout=200, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "process 0 waits" in ended.stdout
    assert re.search(r"exitcode *: 3", ended.stderr)
