"""Searches and answers on a Dask cluster of two processes are those of this process."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from tolerance import assert_close

from sklinvariant import IICClusterer
from sklinvariant.aggregation import VLAD, LearnedBoW
from sklinvariant.hashing import PCAHasher

distributed = pytest.importorskip("distributed", reason="distributed is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")

DIGITS, LABELS = load_digits(n_class=4, return_X_y=True)
DIGITS = DIGITS.astype(np.float32)


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
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
