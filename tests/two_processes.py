"""Runs cases in two processes of torch.distributed, and collects what each process returns.

A case is a function without arguments, or with the folder of the run. As a script, this module is one of the processes.
"""

import datetime
import importlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

import sklinvariant
from sklinvariant import _distributed

SIZE, TIMEOUT = 2, 240
needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no gloo"
)


def run_in_two_processes(module, folder, cases):
    """The results {case: result} of each process, or the exception that the case raised.

    ``cases`` are names of functions of ``module``, which is imported by its path, a file of the tests.
    """
    paths = [str(Path(sklinvariant.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    store = Path(tempfile.mkdtemp(dir=folder)) / "store"  # a file, because a port may be taken
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(module), str(folder), str(rank), str(store), *cases],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(SIZE)
    ]
    try:
        printed = [process.communicate(timeout=TIMEOUT)[0].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, text in zip(processes, printed, strict=True):
        assert process.returncode == 0, text
    return [pickle.loads((Path(folder) / f"result{rank}").read_bytes()) for rank in range(SIZE)]


def share_between_two_threads(monkeypatch, function, batch):
    """The results of ``function(share)`` in two threads, as if they were processes that share the batch."""
    barrier, sent = threading.Barrier(SIZE, timeout=TIMEOUT), {}

    def summed(own, rank):
        sent[rank] = own.detach().clone()
        barrier.wait()
        total = sent[0] + sent[1]
        barrier.wait()
        return total

    def run(rank):
        _distributed._local.processes = _distributed.Processes(rank, rank, SIZE)
        with _distributed.share_of(batch) as share:
            return function(share)

    monkeypatch.setattr(_distributed, "_summed", summed)
    with ThreadPoolExecutor(SIZE) as threads:
        return list(threads.map(run, range(SIZE)))


class _ThreadOfPair(_distributed.Processes):
    """One of two threads that exchange values as processes do."""

    def __init__(self, rank, barrier, sent):
        super().__init__(None, rank, SIZE, shards=True)
        self.barrier, self.sent = barrier, sent

    def gather(self, value):
        self.sent[self.rank] = pickle.dumps(value)
        self.barrier.wait()
        values = [pickle.loads(self.sent[rank]) for rank in range(SIZE)]
        self.barrier.wait()
        return values

    def of_first(self, function):
        answer = None, None
        if self.rank == 0:
            try:
                answer = function(), None
            except Exception as error:
                answer = None, error
        result, error = self.gather(answer)[0]
        if error is not None:
            raise error
        return result


def fit_shards_in_two_threads(function):
    """The results of ``function(rank)``, or their exceptions, in two threads, as in processes with their own parts.

    Processes take seconds to start. Threads exchange the same values.
    """
    barrier, sent = threading.Barrier(SIZE, timeout=TIMEOUT), {}

    def run(rank):
        try:
            with _distributed.together(_ThreadOfPair(rank, barrier, sent)):
                return function(rank)
        except Exception as error:
            return error

    with ThreadPoolExecutor(SIZE) as threads:
        return list(threads.map(run, range(SIZE)))


def _run(module, folder, rank, store, *cases):
    sys.path[:0] = [str(Path(module).parent), str(Path(__file__).parent)]
    warnings.simplefilter("ignore")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=int(rank),
        world_size=SIZE,
        timeout=datetime.timedelta(seconds=TIMEOUT // 2),
    )
    functions, results = importlib.import_module(Path(module).stem), {}
    for case in cases:
        try:
            results[case] = getattr(functions, case)(Path(folder))
        except (Exception, KeyboardInterrupt) as error:
            results[case] = type(error), str(error)
    (Path(folder) / f"result{rank}").write_bytes(pickle.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    _run(*sys.argv[1:])
