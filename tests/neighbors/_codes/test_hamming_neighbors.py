"""HammingNeighbors against a loop, scikit-learn and faiss; ids, removal, files; recall of approximate indexes."""

import copy
import itertools
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline

import sklinvariant
from sklinvariant.neighbors import HammingNeighbors

pytest.importorskip("faiss")
KINDS = ("exact", "ivf", "hnsw", "multihash")
APPROXIMATE = KINDS[1:]


def clustered(n, n_bits, seed):
    """Codes of points in 40 clusters, because random codes have no close neighbours."""
    fixed, rng = np.random.RandomState(0), np.random.RandomState(seed)
    centres, planes = fixed.normal(size=(40, 16)), fixed.normal(size=(16, n_bits))
    points = centres[rng.randint(40, size=n)] + 0.4 * rng.normal(size=(n, 16))
    return (points @ planes > 0).astype(np.uint8)


@pytest.fixture
def codes(global_random_seed):
    return clustered(1500, 64, global_random_seed)


@pytest.fixture
def queries(global_random_seed):
    return clustered(50, 64, global_random_seed + 1)


@pytest.fixture(params=["faiss", "torch"])
def searched_by(request, monkeypatch):
    """Exact searches by faiss, and by torch as on a GPU."""
    if request.param == "torch":
        monkeypatch.setattr(HammingNeighbors, "_search_device", lambda self: torch.device("cpu"))


def loop(queries, codes):
    return np.array([[sum(a != b for a, b in zip(q, c, strict=True)) for c in codes] for q in queries.tolist()])


@pytest.mark.usefixtures("searched_by")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bits", [1, 7, 8, 20, 64])
def test_distances_are_a_loop(kind, n_bits, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    codes, queries = rng.randint(2, size=(30, n_bits)), rng.randint(2, size=(4, n_bits))
    expected = loop(queries, codes)
    model = HammingNeighbors(30, index=kind, n_tables=1, recall=0, random_state=0).fit(codes)
    distances, rows = model.kneighbors(queries)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.arange(30)[None].repeat(4, 0))
    np.testing.assert_array_equal(distances, np.take_along_axis(expected, rows, 1))
    np.testing.assert_array_equal(distances, np.sort(expected, axis=1))


@pytest.mark.usefixtures("searched_by")
@pytest.mark.parametrize("itself", [False, True])
def test_agrees_with_scikit_learn(codes, queries, itself):
    queries = None if itself else queries
    ours = HammingNeighbors(7, radius=9).fit(codes)
    theirs = NearestNeighbors(n_neighbors=7, radius=9.5 / 64, metric="hamming").fit(codes)
    expected, _ = theirs.kneighbors(queries)
    np.testing.assert_allclose(ours.kneighbors(queries)[0], expected * 64)
    assert (ours.kneighbors_graph(queries).sum(1) == 7).all()
    ours_graph = ours.radius_neighbors_graph(queries, mode="distance")
    theirs_graph = theirs.radius_neighbors_graph(queries, mode="distance")
    assert ours_graph.nnz == theirs_graph.nnz > len(codes) // 100
    np.testing.assert_allclose(ours_graph.toarray(), theirs_graph.toarray() * 64)
    for ours_rows, theirs_rows in zip(
        ours.radius_neighbors(queries, return_distance=False),
        theirs.radius_neighbors(queries, return_distance=False),
        strict=True,
    ):
        np.testing.assert_array_equal(np.sort(ours_rows), np.sort(theirs_rows))


@pytest.mark.usefixtures("searched_by")
@pytest.mark.parametrize("kind", KINDS)
def test_itself_is_left_out_among_duplicates(kind):
    codes = np.repeat([[0, 0, 0], [1, 1, 1]], 20, axis=0)
    rows = HammingNeighbors(10, index=kind, random_state=0).fit(codes).kneighbors(return_distance=False)
    assert not (rows == np.arange(40)[:, None]).any()
    assert ((rows < 20) == (np.arange(40) < 20)[:, None]).all()


def test_radius_is_included_and_sorted(codes, queries):
    expected = loop(queries, codes)
    model = HammingNeighbors().fit(codes)
    for radius in (0, 5, 5.9, 64, np.inf):
        distances, rows = model.radius_neighbors(queries, radius, sort_results=True)
        for i in range(len(queries)):
            np.testing.assert_array_equal(distances[i], np.sort(expected[i][expected[i] <= radius]))
            np.testing.assert_array_equal(distances[i], expected[i][rows[i]])
    assert model.radius_neighbors(codes[:2], 0)[0].shape == (2,)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_approximate_indexes_find_enough(kind, codes, queries):
    model = HammingNeighbors(10, index=kind, random_state=0).fit(codes)
    assert model.recall_ >= 0.95
    assert model.estimate_recall(queries) > 0.9
    true = np.sort(loop(queries, codes), axis=1)[:, 9:10]
    found = (model.kneighbors(queries)[0] <= true).mean()
    assert model.estimate_recall(queries) == pytest.approx(found)


@pytest.mark.parametrize(("kind", "knob"), [("ivf", "n_probes"), ("hnsw", "ef_search"), ("multihash", "n_flips")])
def test_effort_can_be_given_after_the_fit(kind, knob, global_random_seed):
    codes, queries = clustered(3000, 64, global_random_seed), clustered(300, 64, global_random_seed + 1)
    model = HammingNeighbors(1, index=kind, n_links=3, ef_construction=4, recall=0, random_state=0).fit(codes)
    recalls = []  # of one neighbour: where fewer are found than asked for, the search is exact
    for effort in (0, 1, 4) if kind == "multihash" else (1, 4, 64):
        assert model.set_params(**{knob: effort}).effort_ == effort
        recalls.append(model.estimate_recall(queries))
    assert recalls[0] < recalls[-1]
    assert recalls == sorted(recalls)


def test_recall_out_of_reach_warns(codes):
    far = np.random.RandomState(0).randint(2, size=(3000, 512))
    with pytest.warns(UserWarning, match=r"finds 0\.\d+ of the 5 nearest"):
        model = HammingNeighbors(index="multihash", random_state=0).fit(far)
    assert model.recall_ < 0.95


@pytest.mark.usefixtures("searched_by")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_codes_added_and_removed_are_those_of_one_fit(kind, with_ids, codes, queries):
    ids = np.random.RandomState(0).permutation(10**15 + np.arange(len(codes))) if with_ids else None
    parts = np.split(np.arange(len(codes)), [100, 120, 700])
    model = HammingNeighbors(10, index=kind, recall=1, n_probes=1000, ef_search=500, n_flips=4, random_state=0)
    for part in parts:
        model.partial_fit(codes[part], ids=None if ids is None else ids[part])
    all_ids = np.arange(len(codes)) if ids is None else ids
    np.testing.assert_array_equal(model.ids_, all_ids)
    kept = np.ones(len(codes), dtype=bool)
    for some in (slice(0, 5), slice(50, 200), slice(400, 900)):  # skipped, skipped, then built anew
        kept[some] = False
        model.remove(all_ids[some][np.isin(all_ids[some], model.ids_)])
        np.testing.assert_array_equal(model.ids_, all_ids[kept])
        assert model.n_samples_fit_ == kept.sum()
        fresh = HammingNeighbors(10).fit(codes[kept], ids=all_ids[kept])
        distances, found = model.kneighbors(queries)
        assert np.isin(found, all_ids[kept]).all()
        assert (distances == fresh.kneighbors(queries)[0]).mean() > 0.98
        itself = model.kneighbors(return_distance=False)
        assert not (itself == all_ids[kept][:, None]).any()
        graph, expected = (m.radius_neighbors_graph(queries, 9, mode="distance") for m in (model, fresh))
        np.testing.assert_array_equal(graph.toarray(), expected.toarray())


@pytest.mark.usefixtures("searched_by")
def test_neighbours_of_a_query_can_all_be_removed(codes):
    model = HammingNeighbors(10, index="hnsw", n_links=4).fit(codes)
    near = model.kneighbors(codes[:1], 200, return_distance=False)[0]
    found = model.remove(near).kneighbors(codes[:1])[0]
    np.testing.assert_array_equal(
        found, np.sort(loop(codes[:1], codes[np.isin(range(1500), near, invert=True)]))[:, :10]
    )


@pytest.mark.usefixtures("searched_by")
def test_ids_count_on(codes):
    model = HammingNeighbors().fit(codes[:3], ids=[5, 9, 2]).partial_fit(codes[3:5])
    assert model.ids_.tolist() == [5, 9, 2, 10, 11]
    assert model.remove(11).partial_fit(codes[5:6]).ids_.tolist() == [5, 9, 2, 10, 12]
    assert model.remove([5]).partial_fit(codes[:1], ids=[5]).ids_.tolist() == [9, 2, 10, 12, 5]
    assert model.remove([]).n_samples_fit_ == 5
    assert model.remove(model.ids_).n_samples_fit_ == 0
    assert model.partial_fit(codes[:1]).ids_.tolist() == [13]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m, c: m.fit(c, ids=[1, 1, *range(len(c) - 2)]), "ids contains 1 3 times"),
        (lambda m, c: m.fit(c, ids=[1, 2]), "ids has 2 entries"),
        (lambda m, c: m.fit(c, ids=np.linspace(0, 1, len(c))), "ids has dtype"),
        (lambda m, c: m.fit(c, ids=np.full(len(c), 2**63, dtype=np.uint64)), "ids has dtype"),
        (lambda m, c: m.partial_fit(c[:2], ids=[60, 3]), "id 3 is already stored"),
        (lambda m, c: m.partial_fit(c[:, :5]), "5 features, but HammingNeighbors is expecting 16"),
        (lambda m, c: m.remove([3, 77]), "id 77 is not stored"),
        (lambda m, c: m.kneighbors(c, 61), "Expected n_neighbors <= n_samples_fit, but n_neighbors = 61"),
        (lambda m, c: m.kneighbors(None, 60), "Expected n_neighbors < n_samples_fit"),
        (lambda m, c: m.kneighbors(c, 0), "n_neighbors=.* is not valid"),
        (lambda m, c: m.kneighbors_graph(c, mode="nothing"), "mode='nothing' is unknown"),
        (lambda m, c: m.radius_neighbors(c, -1), "radius=.* is not valid"),
        (lambda m, c: m.radius_neighbors(c, np.nan), "radius=.* is not valid"),
        (lambda m, c: m.radius_neighbors(c, return_distance=False, sort_results=True), "must be True"),
        (lambda m, c: m.fit(c * np.uint8(3)), "X contains bytes up to 3"),
        (lambda m, c: m.set_params(packed=True).fit(c.astype(float)), "packed=True requires uint8"),
        (lambda m, c: m.fit(c * np.nan), "NaN"),
        (
            lambda m, c: m.set_params(index="ivf", n_lists=61).fit(c),
            "n_lists=61 is more than",
        ),
        (
            lambda m, c: m.set_params(index="multihash", n_tables=17).fit(c),
            "n_tables=17 tables of 1 bits",
        ),
        (
            lambda m, c: m.set_params(index="multihash", table_bits=9).fit(c),
            "n_tables=3 tables of 9 bits",
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_changes_nothing(kind, act, message):
    codes = clustered(60, 16, 0)
    model = HammingNeighbors(index=kind, random_state=0).fit(codes)
    before = model.kneighbors(codes)
    with pytest.raises((ValueError, TypeError), match=message):
        act(model, codes)
    model.set_params(packed=False)
    np.testing.assert_array_equal(model.kneighbors(codes), before)
    assert model.ids_.tolist() == list(range(60))


@pytest.mark.usefixtures("searched_by")
def test_kinds_of_codes(codes, queries):
    expected = HammingNeighbors().fit(codes).kneighbors(queries)
    for make in (
        lambda x: x.astype(bool),
        lambda x: x.astype(np.float32),
        lambda x: 2.0 * x - 1,
        lambda x: x.astype(np.int64) * 7,
        lambda x: x.tolist(),
    ):
        np.testing.assert_array_equal(HammingNeighbors().fit(make(codes)).kneighbors(make(queries)), expected)
    probabilities = HammingNeighbors(binarize=0.5).fit(codes * 0.2 + 0.4)
    np.testing.assert_array_equal(probabilities.kneighbors(queries * 0.2 + 0.4), expected)
    packed = HammingNeighbors(packed=True).fit(np.packbits(codes, axis=1))
    np.testing.assert_array_equal(packed.kneighbors(np.packbits(queries, axis=1)), expected)
    np.testing.assert_array_equal(packed.codes_, HammingNeighbors().fit(codes).codes_)
    with pytest.warns(UserWarning, match="codes are equal"):
        HammingNeighbors().fit(codes * 0.2 + 0.4)


@pytest.mark.usefixtures("searched_by")
def test_tensors_in_tensors_out(codes, queries, device):
    model = HammingNeighbors(radius=9).fit(codes)
    expected = model.kneighbors(queries)
    asked = torch.as_tensor(queries, device=device)
    distances, ids = clone(model).fit(torch.as_tensor(codes, device=device)).kneighbors(asked)
    assert (distances.device, ids.dtype) == (asked.device, torch.int64)
    np.testing.assert_array_equal(distances.cpu(), expected[0])
    for got, true in zip(model.radius_neighbors(asked)[1], model.radius_neighbors(queries)[1], strict=True):
        np.testing.assert_array_equal(got.cpu(), true)


def test_last_step_of_a_pipeline(global_random_seed):
    X = np.random.RandomState(global_random_seed).normal(size=(200, 20))
    model = make_pipeline(PCA(16), HammingNeighbors(3)).fit(X)
    distances = model[-1].kneighbors(model[:-1].transform(X), return_distance=True)[0]
    assert (distances[:, 0] == 0).mean() > 0.95  # bits near 0 may be rounded otherwise than in the fit
    assert (distances[:, 1] > 0).any()
    model.fit(X, hammingneighbors__ids=np.arange(200) + 7)
    assert model[-1].kneighbors(model[:-1].transform(X[3:4]), 1)[1] == 10


def test_threads_are_given_back(codes):
    import faiss

    before = faiss.omp_get_max_threads()
    model = HammingNeighbors(n_jobs=2).fit(codes)
    np.testing.assert_array_equal(
        model.kneighbors(codes)[0], clone(model).set_params(n_jobs=1).fit(codes).kneighbors(codes)[0]
    )
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["save", "mapped", "pickle", "copy", "function"])
def test_kept_whole(kind, way, codes, queries, tmp_path):
    model = HammingNeighbors(10, index=kind, n_jobs=1, random_state=0).fit(codes, ids=np.arange(1500) * 3)
    expected = model.remove([0, 300]).kneighbors(queries)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(model))
    elif way == "copy":
        again = copy.deepcopy(model)
    else:
        model.save(tmp_path / "index")
        again = sklinvariant.load(tmp_path / "index") if way == "function" else None
        again = again or HammingNeighbors.load(tmp_path / "index", mmap_mode="r" if way == "mapped" else None)
    if way == "mapped":
        assert isinstance(again._state["codes"], np.memmap)
        assert kind == "exact" or isinstance(again._state["index"], np.memmap)
    np.testing.assert_array_equal(again.kneighbors(queries), expected)
    assert again.get_params() == model.get_params()
    assert (again.recall_, again.effort_) == (model.recall_, model.effort_)
    for each in (again, model):  # and can be changed; a view is copied first
        each.partial_fit(queries).remove([3])
    np.testing.assert_array_equal(again.ids_, model.ids_)
    assert (again.kneighbors(queries)[0][:, 0] == 0).all()
    if way in ("save", "mapped", "function"):
        untouched = HammingNeighbors.load(tmp_path / "index")
        np.testing.assert_array_equal(untouched.kneighbors(queries), expected)


def test_pipeline_through_skops(global_random_seed, tmp_path):
    sio = pytest.importorskip("skops.io")
    X = np.random.RandomState(global_random_seed).normal(size=(200, 20))
    model = make_pipeline(PCA(16), HammingNeighbors(3, index="hnsw", n_jobs=1)).fit(X)
    sio.dump(model, tmp_path / "pipeline.skops")
    again = sio.load(tmp_path / "pipeline.skops", trusted=sklinvariant.trusted_types())
    np.testing.assert_array_equal(again[-1].kneighbors()[0], model[-1].kneighbors()[0])


def test_load_refuses_other_files(codes, tmp_path):
    from sklinvariant.aggregation import BagOfWords

    sklinvariant.save(BagOfWords(2).fit(codes[:50].astype(float)), tmp_path / "bow")
    with pytest.raises(ValueError, match="but HammingNeighbors is required"):
        HammingNeighbors.load(tmp_path / "bow")
    HammingNeighbors().fit(codes).save(tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    for mmap_mode, length in itertools.product((None, "r"), (0, 7, 100, len(whole) // 2, len(whole) - 1)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut"):
            HammingNeighbors.load(tmp_path / "cut", mmap_mode=mmap_mode)
    with pytest.raises(ValueError, match="mmap_mode"):
        HammingNeighbors.load(tmp_path / "index", mmap_mode="w")


_DIES = """
    import {extra} resource, signal, sys
    import numpy as np
    from sklinvariant.neighbors import HammingNeighbors
    model = HammingNeighbors.load(sys.argv[1]).partial_fit(np.ones((50_000, 64), dtype=np.uint8))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the disk is full in mid-write
    {signals}
    model.save(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize("killed", [False, True])
def test_a_crash_in_mid_save_leaves_the_old_index(killed, codes, queries, tmp_path):
    path = tmp_path / "index"
    model = HammingNeighbors().fit(codes)
    model.save(path)
    # Python ignores the signal of a file too large, and gets an error; with its default the process dies on the spot
    signals = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)" if killed else ""
    code = textwrap.dedent(_DIES).format(extra="", signals=signals)
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, env={**os.environ})
    assert done.returncode < 0 if killed else "File too large" in done.stderr
    assert killed or [file.name for file in tmp_path.iterdir()] == ["index"]
    np.testing.assert_array_equal(HammingNeighbors.load(path).kneighbors(queries), model.kneighbors(queries))


def test_missing_faiss_names_the_extra(codes, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"sklinvariant\[faiss\]"):
        HammingNeighbors().fit(codes)


def test_an_addition_that_breaks_off(codes, queries, monkeypatch):
    model = HammingNeighbors(index="hnsw", n_jobs=1).fit(codes[:1000])
    before = model.kneighbors(queries)
    monkeypatch.setattr(HammingNeighbors, "_find_effort", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.partial_fit(clustered(2000, 64, 7))
    monkeypatch.undo()
    np.testing.assert_array_equal(model.kneighbors(queries), before)


def test_global_generator_stays(codes):
    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    a, b = (HammingNeighbors(index="ivf", n_probes=1, random_state=1).fit(codes).kneighbors()[0] for _ in range(2))
    assert (a == b).mean() > 0.95  # its lists are those of k-means
    np.testing.assert_array_equal(np.random.get_state()[1], state)
