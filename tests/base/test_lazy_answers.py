"""Methods of fitted estimators answer Dask collections by Dask arrays, which are computed later."""

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tolerance import assert_close

from sklinvariant import DescriptorSets, IICClusterer
from sklinvariant.aggregation import VLAD, BagOfWords, LearnedBoW
from sklinvariant.base._lazy_answers import BY_SAMPLE
from sklinvariant.feature_extraction import DensePatches, OnDescriptors
from sklinvariant.hashing import PCAHasher

da = pytest.importorskip("dask.array", reason="dask is not installed")
dask, bag = pytest.importorskip("dask"), pytest.importorskip("dask.bag")
pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")
RNG = np.random.RandomState(0)
ROWS = RNG.rand(50, 6).astype(np.float32)


def fitted_example(name):
    estimator, X, y = example(name)
    if "max_epochs" in estimator.get_params():
        estimator.set_params(max_epochs=2)
    return estimator.fit(X, y), X


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_method_answers_lazily(name):
    estimator, X = fitted_example(name)
    lazy = da.from_array(X, chunks=(7, *(-(-size // 2) for size in X.shape[1:])))  # samples are in several chunks
    for method in sorted(BY_SAMPLE - {"inverse_transform"}):
        if not hasattr(estimator, method):
            continue
        expected, answer = getattr(estimator, method)(X), getattr(estimator, method)(lazy)
        if isinstance(expected, np.ndarray):
            assert isinstance(answer, da.Array)
            assert (answer.shape, answer.dtype) == (expected.shape, expected.dtype)
            assert answer.chunks[0] == lazy.chunks[0]
            answer = answer.compute(scheduler="synchronous")
            assert answer.dtype == expected.dtype
        elif isinstance(expected, DescriptorSets):
            assert len(answer) == lazy.numblocks[0]
            answer = DescriptorSets.concatenate(dask.compute(*answer, scheduler="synchronous"))
            assert type(answer.values) is type(expected.values)
        assert_close(answer, expected)


def test_nothing_is_computed_before_it_is_asked_for():
    def forbidden(block):
        raise AssertionError("computed")

    lazy = da.from_array(ROWS, chunks=20).map_blocks(forbidden, dtype=ROWS.dtype, meta=ROWS[:0])
    answer = PCAHasher(3).fit(ROWS).transform(lazy)
    with pytest.raises(AssertionError, match="computed"):
        answer.compute(scheduler="synchronous")


def test_a_pipeline_of_bags_computes_only_statistics():
    """Images to patches, their principal components and VLAD: no step computes all images."""
    images = RNG.rand(40, 8, 8)
    model = make_pipeline(DensePatches(4, stride=2), OnDescriptors(PCAHasher(6)), VLAD(3, random_state=0))
    expected = clone(model).fit_transform(images)
    seen = []

    def remember(block):
        seen.append(len(block))
        return block

    lazy = da.from_array(images, chunks=(10, -1, -1)).map_blocks(remember, dtype=float, meta=images[:0])
    with dask.config.set(scheduler="synchronous"):
        model.fit(lazy)
        assert max(seen) == 10
        seen.clear()
        answer = model.transform(lazy)
        assert sum(seen) <= 20  # a sample, to learn the shape of each answer
        assert_close(answer.compute(), expected)


def test_empty_blocks_give_no_bags():
    blocks = [dask.delayed(RNG.rand(3, 8, 8)), dask.delayed(np.empty((0, 8, 8)))]
    bags = DensePatches(4).fit(blocks).transform(blocks)
    assert [len(part) for part in dask.compute(*bags, scheduler="synchronous")] == [3, 0]


def test_wrong_input_is_refused_at_once():
    model = PCAHasher(3).fit(ROWS)
    with pytest.raises(ValueError, match="X has 4 features"):
        model.transform(da.from_array(ROWS[:, :4], chunks=20))
    with pytest.raises(ValueError, match="0 sample"):
        model.transform([dask.delayed(ROWS[:0])])


def test_errors_of_answers_name_the_block():
    X = ROWS.copy()
    X[25, 2] = np.nan
    model, blocks = PCAHasher(3).fit(ROWS), [dask.delayed(X[start : start + 20]) for start in (0, 20, 40)]
    for lazy in (da.from_array(X, chunks=(20, 3)), blocks):
        with pytest.raises(ValueError, match=r"block 1 of X: .*NaN"):
            model.transform(lazy).compute(scheduler="synchronous")


def test_delayed_tensors_are_concatenated_as_tensors():
    model = IICClusterer(2, n_heads=1, max_epochs=2, random_state=0)
    blocks = [dask.delayed(torch.tensor(ROWS[start : start + 20])) for start in (0, 20, 40)]
    assert isinstance(clone(model).fit_predict(blocks), torch.Tensor)
    assert_close(model.fit(blocks).predict_proba(ROWS), clone(model).fit(ROWS).predict_proba(ROWS))


def test_a_later_fit_does_not_change_an_answer():
    model = PCAHasher(3).fit(ROWS)
    expected, answer = model.transform(ROWS), model.transform(X=da.from_array(ROWS, chunks=20))
    model.fit(ROWS[::-1] ** 3 - ROWS.mean())
    np.testing.assert_array_equal(answer.compute(scheduler="synchronous"), expected)


def test_blocks_of_unknown_and_of_no_rows():
    model = PCAHasher(3).fit(ROWS)
    lazy = da.from_array(ROWS, chunks=20)
    some = lazy[lazy[:, 0] > 2]  # nothing, in blocks of unknown size
    assert model.transform(some).compute(scheduler="synchronous").shape == (0, 3)
    some = lazy[lazy[:, 0] > ROWS[:20, 0].max()]  # nothing of the first block
    np.testing.assert_array_equal(
        model.transform(some).compute(scheduler="synchronous"), model.transform(ROWS[ROWS[:, 0] > ROWS[:20, 0].max()])
    )


def test_delayed_blocks_of_rows_and_bags():
    model = PCAHasher(3).fit(ROWS)
    blocks = [dask.delayed(ROWS[start : start + 20]) for start in (0, 20, 40)]
    answer = model.transform([dask.delayed(ROWS[:0]), *blocks])
    assert answer.dtype == np.uint8
    assert answer.shape[1] == 3
    np.testing.assert_array_equal(answer.compute(scheduler="synchronous"), model.transform(ROWS))
    sets = [RNG.rand(2 + i, 4) for i in range(7)]
    model = BagOfWords(3, random_state=0).fit(sets)
    lazily = [dask.delayed(sets[:3]), dask.delayed(DescriptorSets.from_bags(sets[3:]))]
    assert_close(model.transform(lazily).compute(scheduler="synchronous"), model.transform(sets))


def test_bags_of_samples():
    sets = [RNG.rand(2 + i, 4) for i in range(7)]
    model = BagOfWords(3, random_state=0).fit(sets)
    lazy = bag.from_sequence(range(7), npartitions=3).map(sets.__getitem__)
    assert_close(model.transform(lazy).compute(scheduler="synchronous"), model.transform(sets))


def test_a_pipeline_goes_on_lazily():
    y = (ROWS[:, 0] > 0.5).astype(int)
    model = make_pipeline(IICClusterer(2, n_heads=1, max_epochs=2, random_state=0), PCAHasher(2)).fit(ROWS)
    lazy = model.transform(da.from_array(ROWS, chunks=20))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), model.transform(ROWS))
    classifier = LogisticRegression().fit(lazy.compute(scheduler="synchronous"), y)
    assert classifier.score(lazy.compute(scheduler="synchronous"), y) > 0.5


def test_data_frames_as_output_are_computed():
    pandas = pytest.importorskip("pandas")
    model = PCAHasher(3).fit(ROWS)
    lazy = da.from_array(ROWS, chunks=20)
    table = clone(model).fit(ROWS).set_output(transform="pandas").transform(lazy)
    assert isinstance(table, pandas.DataFrame)
    np.testing.assert_array_equal(table, model.transform(ROWS))


def test_fits_in_memory_take_delayed_blocks():
    X, y = ROWS.reshape(50, 2, 3), np.arange(50) % 2
    expected = LearnedBoW(3, max_epochs=2, random_state=0).fit(X, y).predict_proba(X)
    sets = DescriptorSets.from_bags(X)
    targets = [dask.delayed(y[:20]), dask.delayed(y[20:])]
    for blocks in ([X[:20], X[20:]], [list(X[:20]), list(X[20:])], [sets[:20], sets[20:]]):
        model = LearnedBoW(3, max_epochs=2, random_state=0).fit(list(map(dask.delayed, blocks)), targets)
        assert_close(model.predict_proba(X), expected)


def test_delayed_data_frames_keep_their_names():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS, columns=list("abcdef"))
    blocks = [dask.delayed(table[:20]), dask.delayed(table[20:])]
    for model in (PCAHasher(3), IICClusterer(2, n_heads=1, max_epochs=2, random_state=0)):
        assert model.fit(blocks).feature_names_in_.tolist() == list("abcdef")
        expected = model.transform(table)
        np.testing.assert_array_equal(model.transform(blocks).compute(scheduler="synchronous"), expected)


def test_bags_in_memory_are_computed_by_threads(monkeypatch):
    """Dask would start processes for a bag, which a script without a main guard cannot."""
    monkeypatch.setattr(bag.Bag, "__dask_scheduler__", None)
    sets = [RNG.rand(2 + i, 4) for i in range(7)]
    expected = BagOfWords(3, random_state=0).partial_fit(sets)
    model = BagOfWords(3, random_state=0).partial_fit(bag.from_sequence(sets, npartitions=3))
    assert_close(model.codebook_, expected.codebook_)
