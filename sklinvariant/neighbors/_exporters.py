"""Binary codes in the formats of other search engines."""

import os
import sqlite3
from typing import Any, Literal

import numpy as np

from sklinvariant.base import check_place, need_extra, replacing, to_numpy, validated
from sklinvariant.neighbors._codes._code_reader import refuse_unpacked
from sklinvariant.neighbors._codes._hamming_neighbors import HammingNeighbors
from sklinvariant.neighbors._codes._stored_codes import check_ids
from sklinvariant.neighbors._vectors._embedding_neighbors import EmbeddingNeighbors

Format = Literal["faiss", "usearch", "hnswlib", "lancedb", "qdrant", "sqlite-vec", "pgvector"]
_NAME = "codes"  # of tables and collections
_FOLDERS = ("lancedb", "qdrant")  # others are files
_REPLACED = ("faiss", "pgvector")  # files that are replaced as a whole
_UNSIGNED = ("usearch", "hnswlib", "qdrant")  # whose ids are at least 0
_BATCH = 10_000  # codes passed to a client at a time


@validated
def export_codes(codes: Any, path: str | os.PathLike, *, format: Format, ids: Any = None) -> None:
    """Write packed codes and their ids in the format of another engine, which then searches them by Hamming distance.

    =============  =====================================  ===========================================
    format         what is written                        how it is searched
    =============  =====================================  ===========================================
    "faiss"        a file of ``IndexBinaryIDMap``         ``faiss.read_index_binary``
    "usearch"      a file of an index of type ``b1``      ``usearch.index.Index.restore``
    "hnswlib"      a file; bits are floats 0 and 1        space ``"l2"``: squares count bits
    "lancedb"      a folder with the table "codes"        ``.distance_type("hamming")``
    "qdrant"       a folder with the collection "codes"   bits are numbers 0 and 1, Manhattan distance
    "sqlite-vec"   a database with the table "codes"      ``code match vec_bit(?) and k = ?``
    "pgvector"     text for ``copy codes (id, code)``     a column ``bit(n)``, the operator ``<~>``
    =============  =====================================  ===========================================

    Parameters
    ----------
    codes : HammingNeighbors, EmbeddingNeighbors or array of shape (n, n_bytes), uint8
        A fitted index, or packed codes as of ``numpy.packbits``.
    path : str or path-like
        The file or folder to write. It must not exist, except for "faiss" and "pgvector", which replace a file as a
        whole.
    format : {"faiss", "usearch", "hnswlib", "lancedb", "qdrant", "sqlite-vec", "pgvector"}
        The engine.
    ids : array-like of n integers or None, default=None
        Ids of an array of codes. None takes the row numbers, or the ids of the index. For "usearch", "hnswlib" and
        "qdrant", ids must be at least 0.

    Raises
    ------
    ImportError
        If the client of the engine is not installed.
    FileExistsError
        If the file or folder exists.
    IsADirectoryError
        If a file should be written, but ``path`` is a folder.
    ValueError
        If codes or ids are not valid.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from sklinvariant.neighbors import export_codes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "codes.txt")
    ...     export_codes(np.array([[3], [129]], dtype=np.uint8), path, format="pgvector", ids=[7, 8])
    ...     print(path.read_text().expandtabs(4))
    7   00000011
    8   10000001
    <BLANKLINE>
    """
    packed, numbers = _codes_and_ids(codes, ids)
    if len(packed) == 0:
        raise ValueError(f"codes holds no codes, but {format} needs at least one. Add codes before the export.")
    if format in _UNSIGNED and numbers.min() < 0:
        raise ValueError(f"ids contains {numbers.min()}, but {format} accepts ids of at least 0. Pass other ids.")
    if format in _FOLDERS and os.path.isdir(path):
        raise FileExistsError(f"{os.fspath(path)} exists. Pass the path of a new folder.")
    check_place(path)
    if format not in _REPLACED and os.path.exists(path):
        raise FileExistsError(f"{os.fspath(path)} exists. Remove it, or pass another path.")
    _WRITERS[format](packed, numbers, os.fspath(path))


def _codes_and_ids(codes, ids):
    if isinstance(codes, (HammingNeighbors, EmbeddingNeighbors)):
        if ids is not None:
            raise ValueError("ids were passed with a fitted index, which has its own ids_. Pass ids with arrays only.")
        index = codes.index_ if isinstance(codes, EmbeddingNeighbors) else codes
        return index.codes_, codes.ids_
    codes = np.asarray(to_numpy(codes))
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] == 0:
        raise ValueError(
            f"codes has dtype {codes.dtype} and shape {codes.shape}, but uint8 of shape (n, n_bytes) is required. Pack "
            "bits with numpy.packbits."
        )
    refuse_unpacked("codes", codes)
    ids = check_ids(ids, len(codes), 0)[0]
    return np.ascontiguousarray(codes), np.arange(len(codes)) if ids is None else ids


def _batches(codes, ids):
    for start in range(0, len(codes), _BATCH):
        yield codes[start : start + _BATCH], ids[start : start + _BATCH]


def _to_faiss(codes, ids, path):
    faiss = need_extra("faiss", "export_codes", "export")
    index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(8 * codes.shape[1]))
    index.add_with_ids(codes, ids)
    with replacing(path) as file:
        file.write(faiss.serialize_index_binary(index).tobytes())


def _to_usearch(codes, ids, path):
    usearch = need_extra("usearch.index", "export_codes", "export")
    index = usearch.Index(ndim=8 * codes.shape[1], metric="hamming", dtype="b1")
    index.add(ids, codes)
    index.save(path)


def _to_hnswlib(codes, ids, path):
    index = need_extra("hnswlib", "export_codes", "export").Index(space="l2", dim=8 * codes.shape[1])
    index.init_index(max_elements=len(codes))
    for part, numbers in _batches(codes, ids):
        index.add_items(np.unpackbits(part, axis=1).astype(np.float32), numbers)
    index.save_index(path)


def _to_lancedb(codes, ids, path):
    lancedb, pyarrow = need_extra("lancedb", "export_codes", "export"), need_extra("pyarrow", "export_codes", "export")
    values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(codes.ravel()), codes.shape[1])
    lancedb.connect(path).create_table(_NAME, pyarrow.table({"id": pyarrow.array(ids), "vector": values}))


def _to_qdrant(codes, ids, path):
    qdrant = need_extra("qdrant_client", "export_codes", "export")
    models, client = qdrant.models, qdrant.QdrantClient(path=path)
    settings = models.VectorParams(
        size=8 * codes.shape[1], distance=models.Distance.MANHATTAN, datatype=models.Datatype.UINT8
    )
    client.create_collection(_NAME, vectors_config=settings)
    for part, numbers in _batches(codes, ids):
        client.upsert(_NAME, models.Batch(ids=numbers.tolist(), vectors=np.unpackbits(part, axis=1).tolist()))
    client.close()


def _to_sqlite(codes, ids, path):
    sqlite_vec = need_extra("sqlite_vec", "export_codes", "export")
    # many builds of Python cannot load extensions of SQLite
    sqlite = (
        sqlite3
        if hasattr(sqlite3.Connection, "enable_load_extension")
        else need_extra("pysqlite3", "export_codes", "export")
    )
    connection = sqlite.connect(path)
    try:
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        connection.execute(
            f"create virtual table {_NAME} using vec0(id integer primary key, code bit[{8 * codes.shape[1]}])"
        )
        rows = ((int(number), code.tobytes()) for code, number in zip(codes, ids, strict=True))
        connection.executemany(f"insert into {_NAME} (id, code) values (?, vec_bit(?))", rows)
        connection.commit()
    finally:
        connection.close()


def _to_pgvector(codes, ids, path):
    with replacing(path, "w", encoding="ascii", newline="\n") as file:
        for code, number in zip(codes, ids, strict=True):
            file.write(f"{number}\t{''.join(map(str, np.unpackbits(code)))}\n")


_WRITERS = {
    "faiss": _to_faiss,
    "usearch": _to_usearch,
    "hnswlib": _to_hnswlib,
    "lancedb": _to_lancedb,
    "qdrant": _to_qdrant,
    "sqlite-vec": _to_sqlite,
    "pgvector": _to_pgvector,
}
