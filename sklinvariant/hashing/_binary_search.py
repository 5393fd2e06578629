"""Search among packed codes by faiss: exact over plain arrays, and its three approximate binary indexes."""

import contextlib
import math

import numpy as np
from joblib import effective_n_jobs

_ROWS = 1 << 16  # codes packed at a time
# what faiss is given at a time: within a call it listens to nobody, and Ctrl-C would have to wait
_SCANNED_BYTES = 1 << 30
_SEARCHED = 1 << 10
_ADDED = 1 << 14


def import_faiss():
    """faiss, or an ImportError that names the extra."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("HammingNeighbors needs faiss: pip install sklinvariant[faiss]") from error
    return faiss


@contextlib.contextmanager
def faiss_threads(n_jobs):
    """Compute with ``n_jobs`` threads; None leaves faiss's own setting, which is one a core."""
    if n_jobs is None:
        yield
        return
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(effective_n_jobs(n_jobs))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def pack_bits(X, threshold):
    """(n, b) numbers as (n, ceil(b / 8)) bytes of the bits ``X > threshold``, the last byte padded with zeros."""
    packed = np.empty((len(X), -(-X.shape[1] // 8)), dtype=np.uint8)
    for start in range(0, len(X), _ROWS):
        packed[start : start + _ROWS] = np.packbits(X[start : start + _ROWS] > threshold, axis=1)
    return packed


def exact_neighbors(queries, codes, k):
    """Distances (q, k) int32 and rows (q, k) int64 of the k nearest codes, by a scan of all of them."""
    return _in_parts(lambda part: import_faiss().knn_hamming(part, codes, k), queries, _at_once(codes))


def codes_within(queries, codes, radius):
    """All codes at most ``radius`` bits away: limits (q + 1,), distances and rows, query after query."""
    step = _at_once(codes)
    parts = [_codes_within(queries[i : i + step], codes, radius) for i in range(0, len(queries) or 1, step)]
    counts, distances, rows = (np.concatenate(values) for values in zip(*parts, strict=True))
    return np.concatenate([[0], np.cumsum(counts)]), distances, rows


def _at_once(codes):
    """How many queries are compared with all codes in one call; some for each thread."""
    return max(64, _SCANNED_BYTES // max(1, codes.nbytes))


def _in_parts(search, queries, step):
    """The distances and rows that ``search`` finds, for ``step`` queries at a time."""
    parts = [search(queries[i : i + step]) for i in range(0, len(queries) or 1, step)]
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def _codes_within(queries, codes, radius):
    """As `codes_within`, in one call; the number of codes for each query in place of the limits."""
    faiss = import_faiss()
    result = faiss.RangeSearchResult(len(queries))
    # faiss leaves out the radius itself
    faiss.hamming_range_search(
        faiss.swig_ptr(queries),
        faiss.swig_ptr(codes),
        len(queries),
        len(codes),
        math.floor(radius) + 1,
        codes.shape[1],
        result,
    )
    limits = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
    total = int(limits[-1])
    if total == 0:
        return np.diff(limits), np.empty(0, np.int32), np.empty(0, np.int64)
    distances = faiss.rev_swig_ptr(result.distances, total).astype(np.int32)
    return np.diff(limits), distances, faiss.rev_swig_ptr(result.labels, total).copy()


def _rising(first, last):
    """Whole numbers from first to last, each about √2 times the one before."""
    steps = math.floor(2 * math.log2(last / first))
    return sorted({*(round(first * 2 ** (i / 2)) for i in range(steps + 1)), last})


class ApproximateIndex:
    """A faiss binary index of the rows of an array of codes, in the order they were added.

    ``effort`` is what a search may spend: lists, candidates or flipped bits. The index lives in memory that it owns,
    or (`from_bytes`) is a view of bytes that may be a memory-mapped file, and is copied before it is added to.
    """

    regrows = True  # whether its structure is made for a number of codes, and must be built anew for many more

    def __init__(self, index, data=None):
        self.index = index
        self.data = data

    @classmethod
    def build(cls, codes, seed, **knobs):
        raise NotImplementedError

    @classmethod
    def from_bytes(cls, data):
        faiss = import_faiss()
        if not hasattr(faiss, "ZeroCopyIOReader"):  # faiss < 1.10
            return cls(faiss.deserialize_index_binary(np.asarray(data)))
        return cls(faiss.read_index_binary(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data))), data)

    def to_bytes(self):
        return import_faiss().serialize_index_binary(self.index) if self.data is None else self.data

    def __len__(self):
        return self.index.ntotal

    def add(self, codes):
        if self.data is not None:
            self.index, self.data = import_faiss().deserialize_index_binary(np.asarray(self.data)), None
        self._add(self.index, codes)

    @staticmethod
    def _add(index, codes):
        for start in range(0, len(codes), _ADDED):
            index.add(codes[start : start + _ADDED])

    def search(self, queries, k, effort):
        """As `exact_neighbors`; where fewer are found, the rest of the rows is -1."""
        self._set_effort(effort)
        return _in_parts(lambda part: self.index.search(part, k), queries, _SEARCHED)

    def _set_effort(self, effort):
        raise NotImplementedError

    def efforts(self):
        """Rising efforts to try."""
        raise NotImplementedError


class InvertedLists(ApproximateIndex):
    """Codes in the lists of their nearest centres (k-means of codes); a search reads the nearest lists."""

    @classmethod
    def build(cls, codes, seed, *, n_lists, **_):
        faiss = import_faiss()
        n_lists = max(1, min(round(2 * math.sqrt(len(codes))), len(codes))) if n_lists is None else n_lists
        if n_lists > len(codes):
            raise ValueError(f"n_lists={n_lists} is greater than the number of codes, {len(codes)}")
        index = faiss.index_binary_factory(8 * codes.shape[1], f"BIVF{n_lists}")
        index.cp.seed, index.cp.niter = seed, 10
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
        index.train(codes)
        cls._add(index, codes)
        return cls(index)

    def _set_effort(self, effort):
        self.index.nprobe = min(effort, self.index.nlist)

    def efforts(self):
        return _rising(1, self.index.nlist)


class SmallWorldGraph(ApproximateIndex):
    """Codes linked to near ones (HNSW); a search walks the links, keeping the best candidates."""

    regrows = False

    @classmethod
    def build(cls, codes, seed, *, n_links, ef_construction, **_):
        index = import_faiss().IndexBinaryHNSW(8 * codes.shape[1], n_links)
        index.hnsw.efConstruction = ef_construction
        cls._add(index, codes)
        return cls(index)

    @staticmethod
    def _add(index, codes):
        index.add(codes)  # in one piece, since the graph depends on the pieces; here faiss itself looks for Ctrl-C

    def _set_effort(self, effort):
        self.index.hnsw.efSearch = effort

    def efforts(self):
        return _rising(16, 4096)


class MultiHash(ApproximateIndex):
    """Tables that hash on some bits each; a search looks up its own bucket and those a few flipped bits away."""

    @classmethod
    def build(cls, codes, seed, *, n_tables, table_bits, **_):
        n_bits = 8 * codes.shape[1]
        if n_tables * (table_bits or 1) > n_bits:
            raise ValueError(f"n_tables={n_tables} of {table_bits or 1} bits are more than the {n_bits} bits of a code")
        per_table = table_bits or min(max(1, round(math.log2(len(codes)))), n_bits // n_tables)
        index = import_faiss().IndexBinaryMultiHash(n_bits, n_tables, per_table)
        cls._add(index, codes)
        return cls(index)

    def _set_effort(self, effort):
        self.index.nflip = min(effort, self.index.b)

    def efforts(self):
        return list(range(min(self.index.b, 4) + 1))


APPROXIMATE = {"ivf": InvertedLists, "hnsw": SmallWorldGraph, "multihash": MultiHash}
