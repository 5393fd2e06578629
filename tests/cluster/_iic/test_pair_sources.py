"""Pairs in time, pairs and graphs that are given, auxiliary samples, and the views of pairs."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from callbacks import Interrupts
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsTransformer, NearestNeighbors, kneighbors_graph
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tolerance import assert_close, assert_same_labels

from sklinvariant import IICClusterer
from sklinvariant.cluster._iic._pair_sources import views_of
from sklinvariant.transforms import Flip, Rotation

QUICK = {"max_epochs": 40, "learning_rate": 0.01, "n_neighbors": 5, "random_state": 0}


def test_pairs_in_time_and_pairs_that_are_given(blobs):
    X, y = blobs
    frames = X[np.argsort(y, kind="stable")]
    clips = np.sort(y)
    params = {**QUICK, "pairs": "temporal"}
    temporal = IICClusterer(3, **params).fit(frames, groups=clips)
    assert adjusted_rand_score(clips, temporal.labels_) > 0.9
    assert temporal.score(frames, groups=clips) > 0.9 * np.log(3)
    together = np.flatnonzero(clips[1:] == clips[:-1])
    pairs = np.stack([frames[together], frames[together + 1]], 1)
    given = IICClusterer(3, **{**params, "pairs": "explicit"}).fit(pairs)
    assert given.labels_.shape == (len(pairs),)
    assert given.n_features_in_ == 4
    assert_same_labels(given.predict(pairs[:, 0]), given.labels_, given.predict_proba(pairs[:, 0]))
    for wrap in (np.asarray, list, np.ndarray.tolist, torch.from_numpy, lambda X: [tuple(pair) for pair in X]):
        with pytest.raises(
            ValueError, match=r"\(\d+, 2, 4\) contains pairs.*single samples of shape \(4,\).*X\[:, 0\]"
        ):
            given.transform(wrap(pairs))
    assert_same_labels(given.predict(list(pairs[:2, 0])), given.labels_[:2], given.predict_proba(pairs[:2, 0]))
    # pairs never cross from one clip to the next, so these are the same pairs
    assert_same_labels(given.predict(frames), temporal.labels_, temporal.predict_proba(frames), margin=0.01)


def test_frames_without_a_next_one():
    with pytest.raises(ValueError, match="no two consecutive frames"):
        IICClusterer(2, pairs="temporal").fit(np.eye(3), groups=[0, 1, 2])


def test_auxiliary_samples_train_auxiliary_heads_only(blobs):
    X, y = blobs
    noise = np.random.RandomState(0).uniform(X.min(0), X.max(0), (60, 4))
    everything, auxiliary = np.r_[X, noise], np.arange(150) >= 90
    model = IICClusterer(3, n_overclusters=9, **QUICK).fit(everything, auxiliary=auxiliary)
    assert adjusted_rand_score(y, model.labels_[:90]) > 0.9
    assert len(model.labels_) == 150
    with pytest.raises(ValueError, match="Set n_overclusters"):
        IICClusterer(3, **QUICK).fit(everything, auxiliary=auxiliary)
    with pytest.raises(ValueError, match="one True or False for each of 150 samples"):
        model.fit(everything, auxiliary=auxiliary[:90])
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        model.fit(everything, auxiliary=np.arange(150) >= 2)


def test_auxiliary_samples_of_a_data_frame():
    X, auxiliary = np.eye(12), pd.Series(np.arange(12) > 9)
    params = {"n_overclusters": 4, "max_epochs": 1, "init": "random", "random_state": 0}
    first, second = (IICClusterer(1, **params).fit(X, auxiliary=mask) for mask in (auxiliary, auxiliary.to_numpy()))
    assert_close(first.transform(X), second.transform(X), rtol=1e-3)


def test_neighbours_that_are_given(blobs):
    """An estimator finds the graph that is passed, so both fits are the same."""
    X, y = blobs
    graph = kneighbors_graph(X, 4)
    model = IICClusterer(3, **QUICK).fit(X, graph=graph)
    assert adjusted_rand_score(y, model.labels_) > 0.9
    assert model.score(X, graph=graph) > 0.8 * np.log(3)
    other = IICClusterer(3, neighbors=NearestNeighbors(n_neighbors=4), **QUICK)
    assert_close(other.fit(X).predict_proba(X), model.predict_proba(X))
    assert other.score(X) == pytest.approx(model.score(X, graph=graph))
    copied = pickle.loads(pickle.dumps(other))
    np.testing.assert_array_equal(copied.predict(X), other.labels_)
    assert clone(other).set_params(neighbors__n_neighbors=9).neighbors.n_neighbors == 9
    assert other.neighbors.n_neighbors == 4
    assert not hasattr(other.neighbors, "n_features_in_")
    assert other.partial_fit(X).n_iter_ == 41
    np.testing.assert_array_equal(other.labels_, other.fit_predict(torch.tensor(X)).numpy())


def test_pairs_of_other_neighbours_are_other_pairs(blobs):
    """Neighbours in the second feature, the sign of noise, form its two clusters."""
    X = np.c_[blobs[0], 20 * np.where(np.arange(90) % 2, 1, -1)]
    search = make_pipeline(FunctionTransformer(lambda rows: rows[:, -1:]), KNeighborsTransformer(n_neighbors=40))
    labels = IICClusterer(2, neighbors=search, **QUICK).fit_predict(X)
    assert adjusted_rand_score(np.arange(90) % 2, labels) > 0.9


def test_samples_without_neighbours_form_no_pairs(blobs):
    X, y = blobs
    graph = kneighbors_graph(X, 4).tolil()
    graph[:30] = 0
    graph = graph.tocsr()
    graph.eliminate_zeros()
    model = IICClusterer(3, **QUICK).fit(X, graph=graph)
    assert model.labels_.shape == (90,)
    assert adjusted_rand_score(y[30:], model.labels_[30:]) > 0.9
    auxiliary = np.arange(90) < 40
    model = IICClusterer(3, n_overclusters=6, **QUICK).fit(X, graph=graph, auxiliary=auxiliary)
    assert adjusted_rand_score(y[40:], model.labels_[40:]) > 0.9
    two = sparse.coo_array((np.ones(2), ([0, 50], [50, 0])), shape=(90, 90))
    with pytest.raises(ValueError, match="graph gives neighbours to 2 samples, but n_clusters=3"):
        model.fit(X, graph=two)


def test_graphs_of_other_samples_and_pairs(blobs, tmp_path):
    X, _ = blobs
    graph = kneighbors_graph(X, 4)
    with pytest.raises(ValueError, match=r"graph must have shape \(90, 90\) for 90 samples, got \(90, 80\)"):
        IICClusterer(3).fit(X, graph=graph[:, :80])
    with pytest.raises(ValueError, match="graph contains neighbours, but pairs is 'temporal'"):
        IICClusterer(3, pairs="temporal").fit(X, graph=graph)
    with pytest.raises(ValueError, match="neighbors finds neighbours, but pairs is 'temporal'"):
        IICClusterer(3, pairs="temporal", neighbors=NearestNeighbors()).fit(X)
    with pytest.raises(ValueError, match="The 'neighbors' parameter of IICClusterer must be"):
        IICClusterer(3, neighbors=5).fit(X)
    model = IICClusterer(3, checkpoint=tmp_path / "fit", callbacks=[Interrupts(3)], **QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, graph=graph)
    with pytest.raises(ValueError, match="belongs to a fit with different neighbours"):
        clone(model).fit(X, graph=kneighbors_graph(X, 3))


def test_neighbours_of_the_parts_of_a_cross_validation(blobs):
    """An estimator is fitted to each part; a graph has only the rows of the part, but all columns."""
    X, _ = blobs
    model = IICClusterer(3, neighbors=NearestNeighbors(), **QUICK | {"max_epochs": 2})
    scores = cross_val_score(model, X, cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    with config_context(enable_metadata_routing=True):
        model = IICClusterer(3, **QUICK).set_fit_request(graph=True).set_score_request(graph=False)
        with pytest.raises(ValueError, match=r"got \(45, 90\)\. Cross-validation takes a part of the rows"):
            cross_val_score(model, X, cv=2, params={"graph": kneighbors_graph(X, 4)}, error_score="raise")


def test_views_of_pairs():
    rotation = Rotation(10, fill="edge")
    assert views_of(IICClusterer(2, transforms=rotation), 2, 5) is rotation
    assert views_of(IICClusterer(2, pairs=rotation), 4, 1) is rotation
    rows = torch.rand(3, 5)
    assert views_of(IICClusterer(2), 2, 5)(rows, None) is rows
    assert any(isinstance(part, Flip) for part in views_of(IICClusterer(2), 4, 3).transforms)
    assert not any(isinstance(part, Flip) for part in views_of(IICClusterer(2), 4, 1).transforms)
