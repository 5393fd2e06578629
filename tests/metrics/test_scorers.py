"""Scorers of retrieval against the whole n x n ranking, on all kinds of estimators."""

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer

from sklinvariant.metrics import average_precision, make_retrieval_scorer
from sklinvariant.neighbors import HammingNeighbors


@pytest.fixture
def digits():
    X, y = load_digits(n_class=5, return_X_y=True)
    return X[:150] + 1e-3 * np.random.RandomState(0).rand(150, 64), y[:150]  # no two at one distance


def whole(X, y, first):
    """Rankings of all samples by L2 distance, and the relevant ids. ``first=1`` leaves out the query."""
    order = np.argsort(((X[:, None] - X) ** 2).sum(-1), axis=1)[:, first:]
    return order, y[order] == y[:, None]


def expected_scores(X, y):
    order, right = whole(X, y, 1)
    relevant = y[:, None] == y
    np.fill_diagonal(relevant, False)
    ap = [np.mean([hits[: j + 1].mean() for j in np.flatnonzero(hits)]) for hits in right]
    np.testing.assert_allclose(average_precision(order, relevant), ap)
    of_own = relevant.sum(1)
    shares = whole(X, y, 0)[1][:, :4].sum(1) / (of_own + 1)
    return {
        "mean_average_precision": np.mean(ap),
        "recall_at_k": np.mean(right[:, :10].sum(1) / of_own),
        "ukbench_score": 4 * shares.mean(),
    }


@pytest.mark.parametrize("working_memory", [2e-3, 0.05, 1024])
@pytest.mark.parametrize(
    "estimator",
    [
        FunctionTransformer(),
        NearestNeighbors(),
        make_pipeline(FunctionTransformer(), NearestNeighbors()),
        make_pipeline(NearestNeighbors()),
    ],
)
def test_scores_are_those_of_the_whole_ranking(estimator, working_memory, digits):
    X, y = digits
    expected = expected_scores(X, y)
    estimator.fit(X[:20], y[:20])  # what is searched is what is scored, not what was fitted
    with config_context(working_memory=working_memory):
        for metric, value in expected.items():
            scorer = make_retrieval_scorer(metric, k=10 if metric == "recall_at_k" else None)
            assert scorer(estimator, X, y) == pytest.approx(value)


def test_ranked_by_the_index_at_the_end_of_a_pipeline(digits):
    X, y = digits
    codes = Binarizer(threshold=7).fit_transform(X)
    model = make_pipeline(Binarizer(threshold=7), HammingNeighbors(n_jobs=1))
    scorer = make_retrieval_scorer()
    got = scorer(model.fit(X), X, y)
    assert got == pytest.approx(scorer(FunctionTransformer().fit(codes), codes, y), abs=0.02)  # but for ties
    assert got > 0.5
    assert model[-1].n_samples_fit_ == 150


def test_cross_validation_and_search(digits):
    X, y = digits
    scorer = pickle.loads(pickle.dumps(make_retrieval_scorer("recall_at_k", k=5)))
    scores = cross_val_score(PCA(8, random_state=0), X, y, scoring=scorer, cv=3, n_jobs=2)
    assert scores.shape == (3,)
    assert (scores > 0.3).all()
    search = GridSearchCV(PCA(random_state=0), {"n_components": [1, 16]}, scoring=make_retrieval_scorer(), cv=2)
    assert search.fit(X, y).best_params_ == {"n_components": 16}


def test_pandas(digits):
    pandas = pytest.importorskip("pandas")
    X, y = digits
    model = NearestNeighbors().fit(pandas.DataFrame(X).add_prefix("x"))
    scorer = make_retrieval_scorer()
    got = scorer(model, pandas.DataFrame(X).add_prefix("x"), pandas.Series(y))
    assert got == pytest.approx(expected_scores(X, y)["mean_average_precision"])


def test_labels_of_any_kind_and_alone(digits):
    X, y = digits
    words = np.array(["zero", "one", "two", "three", "four"])[y]
    model = FunctionTransformer().fit(X)
    scorer = make_retrieval_scorer()
    assert scorer(model, X, words) == pytest.approx(scorer(model, X, y))
    lone = np.where(np.arange(150) == 7, "alone", words)  # asks for nothing; the mean is of the others
    assert 0 < scorer(model, X, lone) < 1
    with pytest.raises(ValueError, match="no query has relevant ids"):
        scorer(model, X, np.arange(150))


def test_bad_parameters(digits):
    X, y = digits
    for wrong, message in (
        ({"metric": "map"}, "metric='map' is unknown"),
        ({"metric": "recall_at_k"}, "k is None"),
    ):
        with pytest.raises(ValueError, match=message):
            make_retrieval_scorer(**wrong)
    with pytest.raises(ValueError, match="y is None"):
        make_retrieval_scorer()(FunctionTransformer(), X, None)
    with pytest.raises(ValueError, match="inconsistent"):
        make_retrieval_scorer()(FunctionTransformer(), X, y[:-1])
    assert "recall_at_k" in repr(make_retrieval_scorer("recall_at_k", k=3))
