"""X in blocks: features that differ, blocks without samples, and errors that name the block."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sklinvariant.hashing import PCAHasher

dask = pytest.importorskip("dask", reason="dask is not installed")
flatten = pytest.importorskip("dask.core").flatten
da = pytest.importorskip("dask.array", reason="dask is not installed")
ROWS = np.random.RandomState(0).rand(230, 6)


@pytest.fixture(autouse=True)
def in_this_process():
    with dask.config.set(scheduler="synchronous"):
        yield


def test_errors_of_a_dask_collection_name_the_block():
    X = ROWS.copy()
    X[75, 2] = np.nan
    model = PCAHasher(3).fit(ROWS)
    before = model._state
    with pytest.raises(ValueError, match=r"block 1 of X: .*NaN"):
        model.fit(da.from_array(X, chunks=(70, -1)))
    assert model._state is before
    with pytest.raises(ValueError, match="block 2 of X has 5 features, but block 0 has 6"):
        model.fit([dask.delayed(ROWS), dask.delayed(ROWS[:0]), dask.delayed(ROWS[:, :5])])
    with pytest.raises(ValueError, match="0 sample"):
        model.fit([dask.delayed(ROWS[:0])])
    with pytest.raises(TypeError, match=r"block 1 of X: Sparse"):
        model.fit([dask.delayed(ROWS), dask.delayed(csr_array(ROWS))])


def test_names_of_an_earlier_fit_are_forgotten():
    pandas = pytest.importorskip("pandas")
    model = PCAHasher(3).fit(pandas.DataFrame(ROWS, columns=list("abcdef")))
    assert not hasattr(model.fit(da.from_array(ROWS, chunks=70)), "feature_names_in_")


def test_blocks_with_other_feature_names_are_refused():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS, columns=list("abcdef"))
    with pytest.raises(ValueError, match="block 1 of X has other feature names than block 0"):
        PCAHasher(3).fit([dask.delayed(table[:90]), dask.delayed(table[90:].rename(columns={"b": "z"}))])


class _Killed(Exception):
    """As `distributed.KilledWorker`, which has the key of a task."""

    def __init__(self, task):
        self.task = task


@pytest.mark.parametrize("of_the_user", [True, False])
def test_an_error_of_a_task_names_the_blocks_that_need_it(of_the_user):
    def get(graph, keys, **settings):
        raise _Killed(read.key if of_the_user else next(key for key in flatten(keys) if "block-1-" in key))

    read = dask.delayed(ROWS.copy, pure=False)()
    blocks = [dask.delayed(ROWS), read, dask.delayed(ROWS)]
    with dask.config.set(scheduler=get), pytest.raises(_Killed) as raised:
        PCAHasher(3).fit(blocks)
    assert raised.value.__notes__ == ["PCAHasher: this is the task of block 1 of X, on which a worker died"]
    with dask.config.set(scheduler=get), pytest.raises(_Killed) as raised:
        PCAHasher(3).fit([read, read])  # which of both is not known
    assert of_the_user is not hasattr(raised.value, "__notes__")
