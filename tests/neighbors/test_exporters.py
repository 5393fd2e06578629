"""Exported codes, read and searched by the engines themselves."""

import sqlite3
from importlib.util import find_spec
from typing import get_args

import numpy as np
import pytest

from sklinvariant.neighbors import EmbeddingNeighbors, HammingNeighbors, export_codes
from sklinvariant.neighbors._exporters import Format

RNG = np.random.RandomState(0)
CODES = RNG.randint(256, size=(200, 4)).astype(np.uint8)
IDS = RNG.permutation(10**6)[:200]
QUERY = RNG.randint(256, size=(1, 4)).astype(np.uint8)
DISTANCES = np.unpackbits(CODES ^ QUERY, axis=1).sum(1)
NEAREST = np.sort(DISTANCES)[:7]
BITS = np.unpackbits(QUERY[0])
OF_ID = dict(zip(IDS.tolist(), DISTANCES.tolist(), strict=True))


def export(tmp_path, format):
    path = str(tmp_path / "exported")
    export_codes(CODES, path, format=format, ids=IDS)
    return path


def check_neighbours(ids, distances):
    """The distances are those of the nearest codes, and of these ids."""
    np.testing.assert_array_equal(np.asarray(distances, dtype=int), NEAREST)
    assert [OF_ID[int(one)] for one in ids] == [int(one) for one in distances]


def test_faiss(tmp_path):
    faiss = pytest.importorskip("faiss")
    index = faiss.read_index_binary(export(tmp_path, "faiss"))
    distances, ids = index.search(QUERY, 7)
    check_neighbours(ids[0], distances[0])
    stored = faiss.vector_to_array(faiss.downcast_IndexBinary(index.index).xb).reshape(-1, 4)
    np.testing.assert_array_equal(stored, CODES)
    np.testing.assert_array_equal(faiss.vector_to_array(index.id_map), IDS)


def test_usearch(tmp_path):
    usearch = pytest.importorskip("usearch.index", reason="usearch is not installed")
    index = usearch.Index.restore(export(tmp_path, "usearch"))
    found = index.search(QUERY[0], 7, exact=True)
    check_neighbours(found.keys, found.distances)
    np.testing.assert_array_equal(index.get(IDS.astype(np.uint64)), CODES)


def test_hnswlib(tmp_path):
    hnswlib = pytest.importorskip("hnswlib", reason="hnswlib is not installed")
    index = hnswlib.Index(space="l2", dim=32)
    index.load_index(export(tmp_path, "hnswlib"))
    index.set_ef(200)
    ids, distances = index.knn_query(BITS, k=7)
    check_neighbours(ids[0], distances[0])
    np.testing.assert_array_equal(index.get_items(IDS), np.unpackbits(CODES, axis=1))


def test_lancedb(tmp_path):
    lancedb = pytest.importorskip("lancedb", reason="lancedb is not installed; it is 200 MB with its dependencies")
    table = lancedb.connect(export(tmp_path, "lancedb")).open_table("codes")
    found = table.search(QUERY[0].tolist()).distance_type("hamming").limit(7).to_arrow()
    check_neighbours(found["id"].to_pylist(), found["_distance"].to_pylist())
    rows = table.to_arrow()
    np.testing.assert_array_equal(np.array(rows["vector"].to_pylist()), CODES)
    np.testing.assert_array_equal(rows["id"].to_numpy(), IDS)


@pytest.mark.filterwarnings("ignore")  # of packages that the client imports
def test_qdrant(tmp_path):
    qdrant = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed; it needs grpc and pydantic")
    client = qdrant.QdrantClient(path=export(tmp_path, "qdrant"))
    found = client.query_points("codes", query=BITS.tolist(), limit=7).points
    check_neighbours([point.id for point in found], [point.score for point in found])
    stored = client.retrieve("codes", IDS.tolist(), with_vectors=True)
    vectors = {point.id: point.vector for point in stored}
    np.testing.assert_array_equal([vectors[one] for one in IDS.tolist()], np.unpackbits(CODES, axis=1))
    client.close()


@pytest.mark.parametrize("format", ["usearch", "hnswlib", "qdrant"])
def test_engines_with_unsigned_ids_refuse_negative_ones(tmp_path, format):
    with pytest.raises(ValueError, match=f"ids contains -10, but {format} accepts ids of at least 0"):
        export_codes(CODES[:2], tmp_path / "codes", format=format, ids=[3, -10])
    assert not (tmp_path / "codes").exists()


def test_negative_ids_are_exported_to_other_engines(tmp_path):
    export_codes(CODES[:2], tmp_path / "codes", format="pgvector", ids=[3, -10])
    assert [line.split("\t")[0] for line in (tmp_path / "codes").read_text().splitlines()] == ["3", "-10"]


def test_sqlite_vec(tmp_path):
    sqlite_vec = pytest.importorskip("sqlite_vec", reason="sqlite-vec is not installed")
    sqlite = sqlite3
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        sqlite = pytest.importorskip("pysqlite3", reason="this build of Python cannot load extensions of SQLite")
    connection = sqlite.connect(export(tmp_path, "sqlite-vec"))
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    search = "select id, distance from codes where code match vec_bit(?) and k = 7 order by distance"
    check_neighbours(*zip(*connection.execute(search, [QUERY.tobytes()]), strict=True))
    stored = dict(connection.execute("select id, code from codes"))
    assert [stored[one] for one in IDS.tolist()] == [code.tobytes() for code in CODES]
    connection.close()


def test_pgvector(tmp_path):
    with open(export(tmp_path, "pgvector"), encoding="ascii") as file:
        ids, texts = zip(*(line.rstrip("\n").split("\t") for line in file), strict=True)
    assert [int(one) for one in ids] == IDS.tolist()
    np.testing.assert_array_equal([[int(bit) for bit in text] for text in texts], np.unpackbits(CODES, axis=1))
    pgvector = pytest.importorskip("pgvector", reason="pgvector is not installed")
    assert list(texts) == [pgvector.Bit(np.unpackbits(code).astype(bool)).to_text() for code in CODES]


def test_indexes_are_exported_with_their_ids(tmp_path):
    faiss = pytest.importorskip("faiss")
    index = HammingNeighbors(packed=True).fit(CODES, ids=IDS).remove(IDS[:50])
    vectors = RNG.normal(size=(60, 8))
    embeddings = EmbeddingNeighbors(rescore=None, random_state=0).fit(vectors, ids=range(100, 160))
    for model, ids, codes in (
        (index, IDS[50:], CODES[50:]),
        (embeddings, np.arange(100, 160), np.packbits(embeddings.hasher_.transform(vectors), axis=1)),
    ):
        export_codes(model, tmp_path / "index", format="faiss")
        read = faiss.read_index_binary(str(tmp_path / "index"))
        np.testing.assert_array_equal(faiss.vector_to_array(read.id_map), ids)
        stored = faiss.vector_to_array(faiss.downcast_IndexBinary(read.index).xb)
        np.testing.assert_array_equal(stored, codes.ravel())
    with pytest.raises(ValueError, match="ids were passed with a fitted index"):
        export_codes(index, tmp_path / "index", format="faiss", ids=IDS)


def test_wrong_input_is_refused(tmp_path):
    for codes in (CODES.astype(int), CODES[0], CODES[:, :0]):
        with pytest.raises(ValueError, match=r"uint8 of shape \(n, n_bytes\) is required"):
            export_codes(codes, tmp_path / "index", format="pgvector")
    with pytest.raises(ValueError, match=r"codes contains only bytes 0 and 1.*numpy.packbits\(codes, axis=1\)"):
        export_codes(np.unpackbits(CODES, axis=1), tmp_path / "index", format="pgvector")
    with pytest.raises(ValueError, match="ids must be unique"):
        export_codes(CODES[:2], tmp_path / "index", format="pgvector", ids=[1, 1])
    with pytest.raises(ValueError, match="'format' parameter"):
        export_codes(CODES, tmp_path / "index", format="milvus")
    (tmp_path / "index").touch()
    with pytest.raises(FileExistsError, match=r"index exists\. Remove it, or pass another path"):
        export_codes(CODES, tmp_path / "index", format="usearch")


@pytest.mark.parametrize("format", get_args(Format))
def test_an_existing_folder_is_kept(tmp_path, format):
    with pytest.raises(OSError, match=r"Pass the path of a new folder|Add a file name") as found:
        export_codes(CODES, tmp_path, format=format)
    assert "Remove" not in str(found.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("format", get_args(Format))
def test_no_codes_are_refused(tmp_path, format):
    emptied = HammingNeighbors(packed=True).fit(CODES).remove(range(200)) if find_spec("faiss") else CODES[:0]
    for codes in (CODES[:0], emptied):
        with pytest.raises(ValueError, match=f"codes holds no codes, but {format} needs at least one"):
            export_codes(codes, tmp_path / "index", format=format)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("format", ["faiss", "usearch", "hnswlib", "sqlite-vec", "pgvector"])
def test_a_missing_folder_is_named(tmp_path, format):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*missing\. Create it first"):
        export_codes(CODES, tmp_path / "missing" / "codes", format=format)


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder, but the name of a file is required"):
        export_codes(CODES, tmp_path, format="pgvector")


def test_a_missing_client_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hnswlib", None)
    with pytest.raises(ImportError, match=r"sklinvariant\[export\]"):
        export_codes(CODES, tmp_path / "index", format="hnswlib")
