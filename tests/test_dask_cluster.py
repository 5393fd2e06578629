"""Searches, fits and answers on a Dask cluster of two processes are those of this process."""

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from tolerance import assert_close

from sklinvariant import AutoPooling, IICClusterer
from sklinvariant.aggregation import VLAD, FisherVector, LearnedBoW
from sklinvariant.feature_extraction import OnDescriptors
from sklinvariant.hashing import ITQHasher, PCAHasher

distributed = pytest.importorskip("distributed", reason="distributed is not installed")
dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")

DIGITS, LABELS = load_digits(n_class=4, return_X_y=True)
DIGITS = DIGITS.astype(np.float32)


@pytest.fixture(scope="module")
def client():
    with (
        mock.patch.dict(os.environ),  # Dask sets OMP_NUM_THREADS for its workers, and leaves it set
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_grid_search_on_the_cluster_has_the_scores_of_a_local_one(client):
    learned = LearnedBoW(4, descriptor_dim=8, max_epochs=2, random_state=0)
    model = GridSearchCV(learned, {"n_codewords": [4, 8], "learning_rate": [0.01, 0.1]}, cv=2)
    local = clone(model).fit(DIGITS, LABELS)
    with parallel_config(backend="dask"):
        remote = model.fit(DIGITS, LABELS)
    assert_close(remote.cv_results_["mean_test_score"], local.cv_results_["mean_test_score"])
    assert remote.best_params_ == local.best_params_
    assert_close(remote.predict_proba(DIGITS), local.predict_proba(DIGITS))


def test_cross_validation_of_a_pipeline_on_the_cluster(client):
    model = make_pipeline(VLAD(4, descriptor_dim=8, random_state=0), LogisticRegression(max_iter=200))
    with parallel_config(backend="dask"):
        remote = cross_val_score(model, DIGITS, LABELS, cv=3, n_jobs=2)
    assert_close(remote, cross_val_score(model, DIGITS, LABELS, cv=3))


@pytest.mark.parametrize(
    "model",
    [PCAHasher(8), IICClusterer(4, n_heads=1, max_epochs=2, random_state=0), VLAD(4, descriptor_dim=8, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_blocks_are_answered_by_the_workers(client, model):
    model.fit(DIGITS)
    method = "transform" if hasattr(model, "transform") else "predict"
    expected = getattr(model, method)(DIGITS)
    answer = getattr(model, method)(da.from_array(DIGITS, chunks=(200, -1)))
    assert isinstance(answer, da.Array)
    assert_close(answer.compute(), expected)


def random_block(seed, n=2000):
    return np.random.RandomState(seed).rand(n, 16) @ np.random.RandomState(99).rand(16, 16)


def random_rows(n_blocks, read=random_block):
    """Rows that the workers generate, and the same rows here."""
    make = dask.delayed(read)
    blocks = [da.from_delayed(make(seed), (2000, 16), float) for seed in range(n_blocks)]
    return da.concatenate(blocks), np.concatenate([random_block(seed) for seed in range(n_blocks)])


@pytest.fixture
def bytes_of_results(client, monkeypatch):
    """The sizes of the results that this process gets from the cluster."""
    sizes, gather = [], distributed.Client._gather_remote

    async def measured(self, *args, **kwargs):
        results = await gather(self, *args, **kwargs)
        sizes.append(dask.sizeof.sizeof(results))
        return results

    monkeypatch.setattr(distributed.Client, "_gather_remote", measured)
    return sizes


@pytest.mark.filterwarnings("ignore:AutoPooling. consecutive rows")
@pytest.mark.parametrize(
    "model",
    [
        PCAHasher(8),
        ITQHasher(8, max_iter=5, random_state=0),
        AutoPooling(4, random_state=0),
        VLAD(4, descriptor_dim=4, max_iter=5, subsample=None, random_state=0),
        FisherVector(2, descriptor_dim=4, max_iter=3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_only_statistics_travel_to_this_process(model, method, bytes_of_results):
    lazy, rows = random_rows(12)
    names = ("directions", "components", "codebook", "means")
    model = clone(model)
    expected = getattr(clone(model), method)(rows)
    bytes_of_results.clear()
    fitted = getattr(model, method)(lazy)
    assert bytes_of_results
    assert sum(bytes_of_results) < {"VLAD": 1.0, "FisherVector": 1.0}.get(type(model).__name__, 0.1) * rows.nbytes
    for name in names:
        if name in expected._state:
            assert_close(fitted._state[name], expected._state[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("inner", [PCAHasher(4), PCA(4)], ids=lambda inner: type(inner).__name__)
def test_only_statistics_or_a_sample_of_descriptors_travels(inner, bytes_of_results):
    """PCAHasher learns from sums over all descriptors, and PCA from a sample. The sizes of the bags travel too."""
    lazy, rows = random_rows(12)
    model = OnDescriptors(inner, descriptor_dim=8, subsample=None if isinstance(inner, PCAHasher) else 1500)
    model.set_params(random_state=0)
    expected = clone(model).fit(rows)
    bytes_of_results.clear()
    fitted = model.fit(lazy)
    assert 0 < sum(bytes_of_results) < 0.2 * rows.nbytes
    before, after = (model.transform(rows[:100]).values.astype(float) for model in (expected, fitted))
    assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_a_killed_worker_does_not_change_the_model(client, tmp_path):
    flag = tmp_path / "killed"

    def read(seed):
        if seed == 2 and not flag.exists():
            Path(flag).touch()
            os._exit(1)
        return random_block(seed)

    lazy, rows = random_rows(4, read)
    fitted = PCAHasher(8).fit(lazy)
    assert flag.exists()
    assert_close(fitted._state["directions"], PCAHasher(8).fit(rows)._state["directions"], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_an_error_names_a_block_on_which_workers_die():
    """The last worker has only this block, because Dask blames all tasks of a worker that dies."""
    with (
        mock.patch.dict(os.environ),
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.work-stealing": False}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = list(client.scheduler_info()["workers"])
        with dask.annotate(workers=workers[1:]):
            lethal = dask.delayed(os._exit)(1)  # as the system ends processes that take too much memory
        with dask.annotate(workers=workers[:1]), pytest.raises(distributed.KilledWorker) as raised:
            PCAHasher(8).fit([dask.delayed(random_block)(0), lethal, dask.delayed(random_block)(2)])
    assert raised.value.__notes__ == ["PCAHasher: this is the task of block 1 of X, on which a worker died"]
