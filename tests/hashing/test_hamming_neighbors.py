"""HammingNeighbors against scikit-learn's and plain loops; ids, removal, files."""

import os
import pickle
import sys

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline

from sklinvariant import load, save
from sklinvariant.hashing import HammingNeighbors, LSHHasher

pytest.importorskip("faiss", reason="faiss is not installed")
APPROXIMATE = ["ivf", "hnsw", "multihash"]


@pytest.fixture
def codes(global_random_seed):
    """700 codes of 24 bits in clusters: random codes have no neighbours to be found."""
    rng = np.random.RandomState(global_random_seed)
    centres = rng.randint(2, size=(30, 24))
    return (centres[rng.randint(30, size=700)] ^ (rng.rand(700, 24) < 0.08)).astype(np.uint8)


@pytest.fixture
def theirs(codes):
    return NearestNeighbors(n_neighbors=6, metric="hamming", algorithm="brute").fit(codes)


def test_exact_against_scikit_learn(codes, theirs):
    ours = HammingNeighbors(n_neighbors=6).fit(codes[:600])
    theirs.fit(codes[:600])
    distances, ids = ours.kneighbors(codes[600:])
    np.testing.assert_allclose(distances, theirs.kneighbors(codes[600:])[0] * 24)
    np.testing.assert_array_equal((codes[:600][ids] != codes[600:, None]).sum(-1), distances)
    without = ours.kneighbors()
    np.testing.assert_allclose(without[0], theirs.kneighbors()[0] * 24)
    assert not (without[1] == np.arange(600)[:, None]).any()
    np.testing.assert_array_equal(ours.kneighbors(codes[600:], 3, return_distance=False), ids[:, :3])


@pytest.mark.parametrize("mode", ["connectivity", "distance"])
def test_graph(codes, mode):
    ours = HammingNeighbors(n_neighbors=4).fit(codes)
    graph = ours.kneighbors_graph(mode=mode)
    assert graph.shape == (700, 700)
    assert (graph.indptr == np.arange(701) * 4).all()
    expected = ours.kneighbors()[0].sum() if mode == "distance" else 2800
    assert graph.sum() == expected


def test_radius(codes):
    ours = HammingNeighbors(radius=3).fit(codes)
    distances, ids = ours.radius_neighbors(codes[:5], sort_results=True)
    for query, near, rows in zip(codes[:5], distances, ids, strict=True):
        plain = (codes != query).sum(1)
        expected = np.flatnonzero(plain <= 3)
        np.testing.assert_array_equal(np.sort(rows), expected)
        np.testing.assert_array_equal(near, np.sort(plain[expected]))
    assert 0 not in ours.radius_neighbors(radius=24, return_distance=False)[0]


@pytest.mark.parametrize("index", APPROXIMATE)
def test_approximate_finds_what_it_says(codes, index):
    ours = HammingNeighbors(index=index, random_state=0).fit(codes)
    exact = HammingNeighbors().fit(codes)
    distances, farthest = ours.kneighbors()[0], exact.kneighbors()[0][:, -1:]
    assert ours.recall_ >= 0.95
    assert (distances <= farthest).mean() > 0.9
    assert ours.effort_ is not None


def test_effort_changes_the_recall(global_random_seed):
    """On codes without clusters, the worst case."""
    codes = np.random.RandomState(global_random_seed).randint(2, size=(3000, 64))
    little, much = (HammingNeighbors(index="ivf", n_lists=40, effort=effort).fit(codes).recall_ for effort in (1, 40))
    assert little < 0.5
    assert much == 1
    with pytest.warns(UserWarning, match="below min_recall"):
        HammingNeighbors(20, index="multihash", n_hashes=1, min_recall=1.0, random_state=0).fit(codes)


@pytest.mark.parametrize("index", ["exact", *APPROXIMATE])
def test_add_and_remove(codes, index):
    whole = HammingNeighbors(3, index=index, random_state=0).fit(codes)
    parts = HammingNeighbors(3, index=index, random_state=0).partial_fit(codes[:300]).partial_fit(codes[300:])
    assert parts.ids_.tolist() == list(range(700))
    agree = (parts.kneighbors(codes[:50])[0] == whole.kneighbors(codes[:50])[0]).mean()
    assert agree == 1 if index == "exact" else agree > 0.9
    parts.remove(np.arange(100))
    assert parts.kneighbors(codes[:50])[1].min() >= 100
    named = HammingNeighbors(1, index=index, random_state=0).fit(codes[:5], ids=[50, 40, 30, 20, 10])
    np.testing.assert_array_equal(named.kneighbors(codes[:5])[0], 0)
    assert set(named.kneighbors(codes[:5])[1].ravel()) <= {50, 40, 30, 20, 10}
    assert named.partial_fit(codes[5:6]).ids_[-1] == 51


def test_packed_codes_and_signs(codes):
    plain = HammingNeighbors().fit(codes).kneighbors(codes[:9])
    for kind, params in (
        (np.packbits(codes, axis=1), {"packed": True}),
        (codes.astype(bool), {}),
        (codes * 2.0 - 1, {}),
    ):
        same = HammingNeighbors(**params).fit(kind).kneighbors(kind[:9])
        np.testing.assert_array_equal(same[0], plain[0])


def test_after_a_hasher(global_random_seed):
    X = np.random.RandomState(global_random_seed).normal(size=(200, 9))
    for packed in (False, True):
        hasher = LSHHasher(32, packed=packed, random_state=0)
        search = make_pipeline(hasher, HammingNeighbors(1, packed=packed)).fit(X)
        assert (search[-1].kneighbors(search[:-1].transform(X))[0] == 0).all()


@pytest.mark.parametrize("index", ["exact", *APPROXIMATE])
@pytest.mark.parametrize("mmap", [False, True])
def test_files(codes, index, mmap, tmp_path):
    ours = HammingNeighbors(index=index, random_state=0).fit(codes, ids=np.arange(700) * 7)
    again = [pickle.loads(pickle.dumps(ours))]
    save(ours, tmp_path / "index")
    again.append(load(tmp_path / "index", mmap=mmap))
    for other in again:
        for one, two in zip(other.kneighbors(codes[:40]), ours.kneighbors(codes[:40]), strict=True):
            np.testing.assert_array_equal(one, two)
    assert isinstance(again[1]._state["codes"].base, np.memmap) is mmap
    again[1].partial_fit(codes[:3])
    assert len(again[1].ids_) == 703


def test_a_crash_while_saving_leaves_the_old_index(codes, tmp_path, monkeypatch):
    path = tmp_path / "index"
    save(HammingNeighbors().fit(codes[:10]), path)

    def fails(file):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        save(HammingNeighbors().fit(codes), path)
    assert len(load(path).ids_) == 10
    assert os.listdir(tmp_path) == ["index"]


def test_truncated_file(codes, tmp_path):
    path = tmp_path / "index"
    save(HammingNeighbors().fit(codes), path)
    path.write_bytes(path.read_bytes()[:-100])
    for mmap in (False, True):
        with pytest.raises(ValueError, match="whole file"):
            load(path, mmap=mmap)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, c: m.fit(c, ids=[1, 2]), "ids must be 700"),
        (lambda m, c: m.fit(c[:2], ids=[1, 1]), "occurs twice"),
        (lambda m, c: m.fit(c[:2], ids=[0.5, 1.0]), "whole numbers"),
        (lambda m, c: m.fit(c).partial_fit(c, ids=np.arange(700)), "occurs twice"),
        (lambda m, c: m.fit(c).kneighbors(c, 701), "n_neighbors=701"),
        (lambda m, c: m.fit(c).kneighbors(None, 700), "699 other codes"),
        (lambda m, c: m.fit(c).kneighbors(c, 0), "positive"),
        (lambda m, c: m.fit(c).kneighbors(c[:, :5]), "features"),
        (lambda m, c: m.fit(c).kneighbors_graph(c, mode="both"), "mode"),
        (lambda m, c: m.fit(c).remove(np.arange(700)), "cannot be empty"),
        (lambda m, c: m.set_params(packed=True).fit(c / 1.0), "bytes"),
        (lambda m, c: m.fit(np.where(c, np.nan, 0)), "NaN"),
        (lambda m, c: m.set_params(index="tree").fit(c), "index"),
    ],
)
def test_bad_input(codes, call, message):
    with pytest.raises(ValueError, match=message):
        call(HammingNeighbors(), codes)


def test_unknown_id_and_missing_faiss(codes, monkeypatch):
    with pytest.raises(KeyError, match="900"):
        HammingNeighbors().fit(codes).remove([900])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"sklinvariant\[faiss\]"):
        HammingNeighbors().fit(codes)


def test_a_failed_fit_keeps_the_old_index(codes):
    ours = HammingNeighbors().fit(codes)
    with pytest.raises(ValueError, match="occurs twice"):
        ours.fit(codes[:2], ids=[3, 3])
    assert len(ours.ids_) == 700
    assert ours.kneighbors(codes[:1])[0][0, 0] == 0
