"""Many codes: memory, codes mapped from a file, blocks, merging, removal, and interruptions."""

import copy
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.neighbors._codes import _approximate_search
from sklinvariant.neighbors._codes._approximate_search import InvertedLists

faiss = pytest.importorskip("faiss")
KINDS = ("exact", "ivf", "hnsw", "multihash")
ALL = {"recall": 1, "n_probes": 1000, "ef_search": 500, "n_flips": 4, "packed": True, "random_state": 0, "n_jobs": 1}


def clustered(n, seed):
    """Packed codes of 64 bits in 50 clusters."""
    rng = np.random.RandomState(seed)
    centres = np.random.RandomState(0).randint(2, size=(50, 64))
    return np.packbits(centres[rng.randint(50, size=n)] ^ (rng.rand(n, 64) < 0.08), axis=1)


def peak_of(function):
    """The largest memory that numpy allocated during a call (that of faiss is not counted)."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """An index of 400,000 codes in few lists, its file and its codes."""
    codes = clustered(400_000, 1)
    model = HammingNeighbors(index="ivf", n_lists=64, n_probes=1, packed=True, random_state=0).fit(codes)
    path = tmp_path_factory.mktemp("large") / "index"
    model.save(path)
    return model, path, codes


def test_saving_and_loading_copy_nothing(large, tmp_path):
    model, path, codes = large
    size = path.stat().st_size
    assert size > 3 * codes.nbytes
    assert peak_of(lambda: model.save(tmp_path / "again")) < codes.nbytes
    assert peak_of(lambda: HammingNeighbors.load(path)) < 1.5 * size
    assert peak_of(lambda: HammingNeighbors.load(path, mmap_mode="r").kneighbors(codes[:3])) < codes.nbytes
    assert peak_of(lambda: HammingNeighbors.load(path, mmap_mode="r").save(tmp_path / "again")) < codes.nbytes
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the mapped pages from /proc")
def test_a_mapped_index_is_not_read_whole(large):
    model, path, codes = large
    mapped = HammingNeighbors.load(path, mmap_mode="r")
    np.testing.assert_array_equal(mapped.kneighbors(codes[:1]), model.kneighbors(codes[:1]))
    read, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and words[0] == "Rss:":
            read += 1024 * int(words[1])
    assert 0 < read < path.stat().st_size / 4


@pytest.mark.parametrize("kind", KINDS)
def test_codes_mapped_from_a_file_are_not_copied(kind, tmp_path):
    codes = clustered(20_000, 2)
    np.save(tmp_path / "codes.npy", codes)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    model = HammingNeighbors(index=kind, packed=True, n_links=4, recall=0.5, random_state=0, n_jobs=1)
    peak = peak_of(lambda: model.fit(mapped))
    assert np.shares_memory(model.codes_, mapped)
    assert kind != "exact" or peak < codes.nbytes / 2
    distances = model.kneighbors(codes[:50])[0]
    np.testing.assert_array_equal(distances, model.set_params(packed=True).fit(codes).kneighbors(codes[:50])[0])
    model.fit(mapped).partial_fit(codes[:5])  # which needs memory of its own
    np.testing.assert_array_equal(model.codes_, np.concatenate([codes, codes[:5]]))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_stored_as_one_array(kind):
    codes = clustered(500, 13)

    def blocks():  # which all use the same memory
        memory = np.empty((200, 8), np.uint8)
        for rows in np.split(codes, [200, 200, 350]):
            memory[: len(rows)] = rows
            yield memory[: len(rows)]

    model = HammingNeighbors(index=kind, **ALL).fit(blocks(), ids=np.arange(500) + 3)
    whole = HammingNeighbors(index=kind, **ALL).fit(codes, ids=np.arange(500) + 3)
    np.testing.assert_array_equal(model.codes_, codes)
    np.testing.assert_array_equal(model.kneighbors(codes[:20])[0], whole.kneighbors(codes[:20])[0])
    model.partial_fit(codes[:2])
    assert model.ids_[-3:].tolist() == [502, 503, 504]
    one = HammingNeighbors(packed=True).fit(iter([codes[:1]])).partial_fit(codes[1:2])
    np.testing.assert_array_equal(one.codes_, codes[:2])
    for bad, message in (
        ([codes, codes[:, :4]], "block 1 of X has 4 features"),
        ([codes, codes * 1.0], "block 1 of X: X has dtype float64"),
        ([], "gave no samples"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(iter(bad))
        assert model.n_samples_fit_ == 502
        assert model.kneighbors(codes[:20])[0].shape == (20, 5)


def test_an_addition_does_not_copy_the_stored_codes():
    codes = clustered(200_000, 3)
    model = HammingNeighbors(packed=True).fit(codes).partial_fit(codes[:10])
    assert peak_of(lambda: model.partial_fit(codes[:10])) < codes.nbytes / 4


@pytest.mark.parametrize("kind", KINDS)
def test_copies_do_not_share_memory_that_grows(kind):
    codes = clustered(60, 4)
    model = HammingNeighbors(index=kind, **ALL).fit(codes[:40]).partial_fit(codes[40:50])
    other = copy.copy(model)
    model.partial_fit(codes[50:55])
    other.partial_fit(codes[55:])
    np.testing.assert_array_equal(model.codes_, codes[:55])
    np.testing.assert_array_equal(other.codes_, codes[[*range(50), *range(55, 60)]])
    assert model.kneighbors(codes[:9], 1)[0].max() == other.kneighbors(codes[:9], 1)[0].max() == 0


def test_lists_are_rebuilt_only_where_it_helps(monkeypatch):
    built = []
    build = InvertedLists.build.__func__
    monkeypatch.setattr(
        InvertedLists, "build", classmethod(lambda cls, *a, **k: built.append(len(a[0])) or build(cls, *a, **k))
    )
    codes = clustered(6000, 5)
    blocks = np.split(codes, [100, 700, 2000])
    model = HammingNeighbors(index="ivf", packed=True, random_state=0)
    for settings, expected in (
        ({}, [100, 700]),  # 700 codes are more than four times 100, 6000 more than four times 700
        ({"n_lists": 4}, [100, 700]),  # 700 codes are enough to learn 4 centres
        ({"centers": codes[:20]}, [100]),
    ):
        built.clear()
        model.set_params(**{"n_lists": None, "centers": None, **settings}).fit(blocks[0])
        for block in blocks[1:]:
            model.partial_fit(block)
        assert built == expected + ([6000] if not settings else [])
        assert model.n_samples_fit_ == 6000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_indexes_built_apart_are_merged(kind, with_ids, tmp_path):
    codes, queries = clustered(900, 6), clustered(40, 7)
    ids = np.random.RandomState(0).permutation(5000)[:900] if with_ids else np.arange(900)
    centers = HammingNeighbors(index="ivf", n_lists=12, packed=True, random_state=0).fit(codes[:200]).centers_
    assert centers.shape == (12, 8)
    whole = HammingNeighbors(10, index=kind, centers=centers, **ALL).fit(codes, ids=ids)
    for i, rows in enumerate(np.split(np.arange(900), [500, 501, 800])):
        part = HammingNeighbors(10, index=kind, centers=centers, **ALL).fit(
            codes[rows], ids=ids[rows] if with_ids else None
        )
        part.save(tmp_path / str(i))
    merged = HammingNeighbors.load(tmp_path / "0")
    for i in (1, 2, 3):
        part = HammingNeighbors.load(tmp_path / str(i), mmap_mode="r")
        before = part.kneighbors(queries, 1)
        merged.merge(part)
        np.testing.assert_array_equal(part.kneighbors(queries, 1), before)
    np.testing.assert_array_equal(merged.ids_, ids)
    distances, found = merged.kneighbors(queries)
    assert (distances == whole.kneighbors(queries)[0]).mean() > 0.98
    rows = np.argsort(ids)[np.searchsorted(np.sort(ids), found)]
    differ = np.unpackbits(codes[rows] ^ queries[:, None], axis=-1).sum(-1)
    np.testing.assert_array_equal(differ, distances)
    if kind == "ivf":  # list by list, as in one fit
        np.testing.assert_array_equal(merged.centers_, centers)
        np.testing.assert_array_equal(distances, whole.kneighbors(queries)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_removed_codes_are_not_merged_and_other_lists_are_read_anew(kind):
    codes = clustered(300, 8)
    one = HammingNeighbors(index=kind, **ALL).fit(codes[:200])
    other = HammingNeighbors(index="ivf", **ALL).fit(codes[200:]).remove([0, 7])
    assert one.merge(other).n_samples_fit_ == 298
    assert one.ids_.tolist() == [*range(200), *range(201, 207), *range(208, 300)]  # shifted by 200
    assert one.kneighbors(codes[[201, 299]], 1)[0].tolist() == [[0], [0]]
    assert one.merge(one).n_samples_fit_ == 596
    assert one.merge(other.remove(other.ids_)).n_samples_fit_ == 596  # nothing


def test_what_cannot_be_merged():
    codes = clustered(30, 9)
    model = HammingNeighbors(packed=True).fit(codes, ids=range(30))
    for other, error, message in (
        (HammingNeighbors(packed=True).fit(codes[:3], ids=[50, 4, 60]), ValueError, "id 4 is already stored"),
        (HammingNeighbors(packed=True).fit(codes[:, :4]), ValueError, "other has 4 features"),
        (HammingNeighbors().fit(codes % 2), ValueError, "packed=False"),
        (codes, TypeError, "other is a ndarray"),
        (HammingNeighbors(), ValueError, "not fitted"),
    ):
        with pytest.raises(error, match=message):
            model.merge(other)
        assert model.n_samples_fit_ == 30


@pytest.mark.parametrize(
    "centers",
    [np.zeros((3, 4), np.uint8), np.zeros((0, 8), np.uint8), np.zeros(8, np.uint8), np.zeros((3, 8))],
    ids=repr,
)
def test_centers_of_other_codes(centers):
    with pytest.raises(ValueError, match="centers"):
        HammingNeighbors(index="ivf", packed=True, centers=centers).fit(clustered(30, 0))


def test_only_lists_have_centers():
    model = HammingNeighbors(packed=True).fit(clustered(30, 0))
    assert not hasattr(model, "centers_")
    assert not hasattr(HammingNeighbors(index="ivf"), "centers_")


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_is_updated_under_its_id(kind):
    codes = clustered(300, 10)
    model = HammingNeighbors(1, index=kind, **ALL).fit(codes[:200], ids=np.arange(200) * 7)
    model.remove([14]).partial_fit(codes[250:251], ids=[14])
    assert model.n_samples_fit_ == 200
    assert model.kneighbors(codes[250:251])[0].tolist() == [[0]]
    assert model.ids_[-1] == 14
    assert 14 in model.kneighbors(codes[250:251], 5)[1]


@pytest.mark.parametrize("way", ["add", "merge"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_addition_loses_nothing(kind, way, monkeypatch, tmp_path):
    """Neither the saved file nor the index in memory: it holds all codes, or those before."""
    codes = clustered(400, 11)
    centers = codes[:9]
    model = HammingNeighbors(1, index=kind, centers=centers, **ALL).fit(codes[:200])
    other = HammingNeighbors(1, index=kind, centers=centers, **ALL).fit(codes[200:])
    model.save(tmp_path / "index")

    def interrupted(self, *args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        kinds = {"ivf": InvertedLists}
        for cls in {*InvertedLists.__mro__[:2], *InvertedLists.__mro__[1].__subclasses__(), *kinds.values()}:
            patch.setattr(cls, "add", interrupted)
            patch.setattr(cls, "merge", interrupted)
        try:
            model.merge(other) if way == "merge" else model.partial_fit(codes[200:])
        except KeyboardInterrupt:
            assert kind != "exact"
    again = HammingNeighbors.load(tmp_path / "index")
    np.testing.assert_array_equal(again.codes_, codes[:200])
    assert (model.kneighbors(codes[:200])[0] == 0).all()
    assert model.n_samples_fit_ in (200, 400)
    model.partial_fit(codes[:3])
    assert (model.kneighbors(codes[:200])[0] == 0).all()
    assert len(model.ids_) == model.n_samples_fit_


class Interrupts:
    """Passes all calls on to another object, but raises KeyboardInterrupt in the third call of one method."""

    def __init__(self, inner, name):
        self.inner, self.name, self.calls = inner, name, 0

    def __getattr__(self, name):
        if name == self.name:
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
        return getattr(self.inner, name)


@pytest.mark.parametrize("way", ["add", "merge"])
def test_lists_are_cut_after_an_interrupted_addition(way, monkeypatch):
    """They hold some of the added codes, and are not built again, which takes long for many codes."""
    monkeypatch.setattr(_approximate_search, "_ADDED", 50)
    codes = clustered(600, 14)
    settings = {"index": "ivf", "centers": codes[:9], **ALL}
    one, other = (HammingNeighbors(1, **settings).fit(part) for part in np.split(codes, [200]))
    live = one._live_index()
    with monkeypatch.context() as patch:
        if way == "add":
            patch.setattr(live, "index", Interrupts(live.index, "add"))
        else:
            lists = other._live_index().index.invlists
            patch.setattr(
                other._live_index(), "index", SimpleNamespace(invlists=Interrupts(lists, "list_size"), ntotal=400)
            )
            patch.setattr(InvertedLists, "merges_with", lambda *args: True)
        with pytest.raises(KeyboardInterrupt):
            one.partial_fit(codes[200:]) if way == "add" else one.merge(other)
    lists = live.index.invlists
    assert sum(lists.list_size(i) for i in range(9)) > 200
    monkeypatch.setattr(InvertedLists, "build", lambda *args, **knobs: pytest.fail("built again"))
    assert one.n_samples_fit_ == 200
    assert one.kneighbors(codes, 200)[1].max() == 199
    assert len(live) == 200
    assert (one.merge(other).kneighbors(codes)[0] == 0).all()
    assert (np.sort(one.kneighbors(codes[:5], 600)[1]) == np.arange(600)).all()


def test_row_numbers_out_of_range_are_found_when_they_are_searched(tmp_path):
    """The lists of a mapped file are not read to check them."""
    codes = clustered(300, 12)
    model = HammingNeighbors(3, index="ivf", n_lists=2, packed=True, random_state=0).fit(codes)
    state = model.__getstate__()
    data = state["_state"]["index"].copy()
    place = bytes(data).rindex(np.int64(299).tobytes())
    data[place : place + 8] = np.frombuffer(np.int64(10**6).tobytes(), np.uint8)
    damaged = HammingNeighbors(3, index="ivf", n_lists=2, packed=True)
    damaged.__setstate__({**state, "_state": {**state["_state"], "index": data}})
    with pytest.raises(ValueError, match="it refers to codes that are not stored"):
        damaged.kneighbors(codes)
