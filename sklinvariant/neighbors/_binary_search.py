"""Search among packed codes with faiss: exact over arrays, and three approximate binary indexes."""

import math
from typing import Any, Self

import numpy as np

from sklinvariant.base import import_faiss

_ROWS = 1 << 16  # codes packed at a time
_MOST_BUCKETS = 1 << 16  # per query and table: looking up more takes longer than comparing all codes
# sizes of the parts passed to faiss, because Ctrl-C has no effect during a call
_SCANNED_BYTES = 1 << 30
_SEARCHED = 1 << 10
_ADDED = 1 << 14


def pack_bits(X: np.ndarray, threshold: float) -> np.ndarray:
    """Pack the bits ``X > threshold`` of (n, b) numbers into (n, ceil(b / 8)) bytes, padded with zeros."""
    packed = np.empty((len(X), -(-X.shape[1] // 8)), dtype=np.uint8)
    for start in range(0, len(X), _ROWS):
        packed[start : start + _ROWS] = np.packbits(X[start : start + _ROWS] > threshold, axis=1)
    return packed


def exact_neighbors(queries: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances (q, k) int32 and rows (q, k) int64 of the k nearest codes, found by comparison with all codes."""
    return _search_in_parts(lambda part: import_faiss().knn_hamming(part, codes, k), queries, _queries_per_call(codes))


def codes_within(queries: np.ndarray, codes: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All codes within ``radius`` bits: limits (q + 1,), and the concatenated distances and rows of all queries."""
    step = _queries_per_call(codes)
    parts = [_codes_within(queries[i : i + step], codes, radius) for i in range(0, len(queries) or 1, step)]
    counts, distances, rows = (np.concatenate(values) for values in zip(*parts, strict=True))
    return np.concatenate([[0], np.cumsum(counts)]), distances, rows


def _queries_per_call(codes):
    """Number of queries to compare with all codes in one call, enough for several threads."""
    return max(64, _SCANNED_BYTES // max(1, codes.nbytes))


def _search_in_parts(search, queries, step):
    """The distances and rows that ``search`` returns, called with ``step`` queries at a time."""
    parts = [search(queries[i : i + step]) for i in range(0, len(queries) or 1, step)]
    return tuple(np.concatenate(values) for values in zip(*parts, strict=True))


def _codes_within(queries, codes, radius):
    """`codes_within` in a single call, with the number of codes for each query instead of the limits."""
    faiss = import_faiss()
    result = faiss.RangeSearchResult(len(queries))
    # faiss excludes codes exactly at the radius
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
    """Integers from first to last, each about √2 times the previous one."""
    steps = math.floor(2 * math.log2(last / first))
    return sorted({*(round(first * 2 ** (i / 2)) for i in range(steps + 1)), last})


class ApproximateIndex:
    """A faiss binary index of the rows of an array of codes, in the order in which they were added.

    ``effort`` limits the work of a search: the number of lists, candidates or flipped bits. The index owns its memory,
    unless `from_bytes` made it a view of bytes, which may be a memory-mapped file. A view is copied before codes are
    added.
    """

    _class = ""  # the name of its class in faiss
    regrows = True  # whether its structure depends on the number of codes, and must be rebuilt after many additions

    def __init__(self, index: Any, data: np.ndarray | None = None) -> None:
        self.index = index
        self.data = data

    @classmethod
    def build(cls, *args: Any, **knobs: Any) -> Self:
        """The index of some codes, from the codes, a seed and the parameters of `HammingNeighbors`."""
        raise NotImplementedError

    @classmethod
    def from_bytes(cls, data: np.ndarray, codes: np.ndarray, **knobs: Any) -> Self:
        """The index of ``codes`` from the output of `to_bytes`. Raises a ValueError if the bytes are not valid.

        faiss does not check the offsets stored in an index. They are checked here, because the bytes may come from a
        damaged or a malicious file.
        """
        faiss = import_faiss()
        view: np.ndarray | None = data
        try:
            if not hasattr(faiss, "ZeroCopyIOReader"):  # faiss < 1.10
                index, view = faiss.deserialize_index_binary(np.asarray(data)), None
            else:
                index = faiss.read_index_binary(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)))
            sound = type(index).__name__ == cls._class and cls._is_consistent(index, codes, faiss)
        except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"faiss cannot read it: {str(error).splitlines()[0]}") from error
        if not sound:
            raise ValueError("its contents do not match its codes")
        return cls(index, view)

    @staticmethod
    def _is_consistent(index, codes, faiss):
        """Whether every number in the index refers to a code, and the codes have the width of the given ones."""
        raise NotImplementedError

    def to_bytes(self) -> np.ndarray:
        """The serialised index, uint8."""
        return import_faiss().serialize_index_binary(self.index) if self.data is None else self.data

    def __len__(self) -> int:
        return self.index.ntotal

    def add(self, codes: np.ndarray) -> None:
        """Append codes."""
        if self.data is not None:
            self.index, self.data = import_faiss().deserialize_index_binary(np.asarray(self.data)), None
        self._add(self.index, codes)

    @staticmethod
    def _add(index, codes):
        for start in range(0, len(codes), _ADDED):
            index.add(codes[start : start + _ADDED])

    def search(self, queries: np.ndarray, k: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """As `exact_neighbors`. If fewer neighbours are found, the remaining rows are -1."""
        self._set_effort(effort)
        return _search_in_parts(lambda part: self.index.search(part, k), queries, _SEARCHED)

    def _set_effort(self, effort):
        raise NotImplementedError

    def efforts(self) -> list[int]:
        """Increasing efforts to try."""
        raise NotImplementedError


def _is_flat(index, n, width, faiss):
    """Whether a faiss index is a flat index of n codes of ``width`` bytes."""
    index = faiss.downcast_IndexBinary(index)
    is_flat = type(index) is faiss.IndexBinaryFlat and (index.ntotal, index.code_size, index.d) == (n, width, 8 * width)
    return is_flat and index.xb.size() == n * width


class InvertedLists(ApproximateIndex):
    """Codes in lists, one for each k-means centre. A search reads the lists of the nearest centres."""

    _class = "IndexBinaryIVF"

    @staticmethod
    def _is_consistent(index, codes, faiss):
        (n, width), lists = codes.shape, index.invlists
        if (index.ntotal, index.code_size, index.d, lists.code_size) != (n, width, 8 * width, width):
            return False
        if (
            not 1 <= index.nlist <= n
            or lists.nlist != index.nlist
            or not _is_flat(index.quantizer, index.nlist, width, faiss)
        ):
            return False
        sizes = [lists.list_size(i) for i in range(index.nlist)]
        ids = (faiss.rev_swig_ptr(lists.get_ids(i), size) for i, size in enumerate(sizes) if size)
        return sum(sizes) == n and all(part.min() >= 0 and part.max() < n for part in ids)

    @classmethod
    def build(cls, codes: np.ndarray, seed: int, *, n_lists: int | None, **_: Any) -> Self:
        faiss = import_faiss()
        n_lists = max(1, min(round(2 * math.sqrt(len(codes))), len(codes))) if n_lists is None else n_lists
        if n_lists > len(codes):
            raise ValueError(
                f"n_lists={n_lists} is more than the {len(codes)} codes, which is the largest accepted value. Lower "
                "n_lists or set it to None."
            )
        index = faiss.index_binary_factory(8 * codes.shape[1], f"BIVF{n_lists}")
        index.cp.seed, index.cp.niter = seed, 10
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 64
        index.train(codes)
        cls._add(index, codes)
        return cls(index)

    def _set_effort(self, effort):
        self.index.nprobe = min(effort, self.index.nlist)

    def efforts(self) -> list[int]:
        return _rising(1, self.index.nlist)


class SmallWorldGraph(ApproximateIndex):
    """A graph that links near codes (HNSW). A search follows the links and keeps the best candidates."""

    regrows = False
    _class = "IndexBinaryHNSW"

    @staticmethod
    def _is_consistent(index, codes, faiss):
        (n, width), graph = codes.shape, index.hnsw
        if (index.ntotal, index.code_size, index.d) != (n, width, 8 * width) or not _is_flat(
            index.storage, n, width, faiss
        ):
            return False
        links, starts, levels, per_level = (
            faiss.vector_to_array(getattr(graph, name)).astype(np.int64)
            for name in ("neighbors", "offsets", "levels", "cum_nneighbor_per_level")
        )
        if len(levels) != n or len(starts) != n + 1 or len(per_level) == 0 or per_level[0] != 0:
            return False
        fits = (np.diff(per_level) >= 0).all() and levels.min() >= 1 and levels.max() < len(per_level)
        if not fits or starts[0] != 0 or starts[-1] != len(links) or (np.diff(starts) != per_level[levels]).any():
            return False
        top = graph.max_level + 1  # levels of the entry point
        if not 0 <= graph.entry_point < n or levels[graph.entry_point] != top or top != levels.max():
            return False
        # a link must lead to a code that has links on the same level
        places = np.arange(len(links)) - np.repeat(starts[:-1], np.diff(starts))
        level = np.searchsorted(per_level, places, side="right")
        in_range = ((links >= -1) & (links < n)).all()
        return bool(in_range and (levels[links[links >= 0]] >= level[links >= 0]).all())

    @classmethod
    def build(cls, codes: np.ndarray, seed: int, *, n_links: int, ef_construction: int, **_: Any) -> Self:
        index = import_faiss().IndexBinaryHNSW(8 * codes.shape[1], n_links)
        index.hnsw.efConstruction = ef_construction
        cls._add(index, codes)
        return cls(index)

    @staticmethod
    def _add(index, codes):
        index.add(codes)  # in one call, because the graph depends on the parts; this call can be interrupted

    def _set_effort(self, effort):
        # faiss allocates this many candidates, and more than the number of codes are never needed
        self.index.hnsw.efSearch = min(effort, max(1, self.index.ntotal))

    def efforts(self) -> list[int]:
        return _rising(16, 4096)


class MultiHash(ApproximateIndex):
    """Hash tables, each on some of the bits. A search looks up the buckets within a few flipped bits of the query's."""

    @classmethod
    def from_bytes(cls, data: np.ndarray, codes: np.ndarray, **knobs: Any) -> Self:
        """Build the tables again, which is as fast as reading them: Python cannot check stored tables."""
        return cls.build(codes, None, **knobs)

    @classmethod
    def build(
        cls,
        codes: np.ndarray,
        seed: int | None,
        *,
        n_tables: int,
        table_bits: int | None,
        n_built: int | None = None,
        **_: Any,
    ) -> Self:
        n_bits, n_built = 8 * codes.shape[1], n_built or len(codes)
        if n_tables * (table_bits or 1) > n_bits:
            raise ValueError(
                f"n_tables={n_tables} tables of {table_bits or 1} bits need more than the {n_bits} bits of a code. "
                "Lower n_tables or table_bits."
            )
        per_table = table_bits or min(max(1, round(math.log2(n_built))), n_bits // n_tables)
        index = import_faiss().IndexBinaryMultiHash(n_bits, n_tables, per_table)
        cls._add(index, codes)
        return cls(index)

    def _set_effort(self, effort):
        flips, bits = min(effort, self.index.b), self.index.b
        if (buckets := _n_buckets(bits, flips)) > _MOST_BUCKETS:
            raise ValueError(
                f"n_flips={effort} makes a query look up {buckets:,} buckets in each table of {bits} bits; at most "
                f"{_MOST_BUCKETS:,} are accepted. Lower n_flips or table_bits, or use index='exact'."
            )
        self.index.nflip = flips

    def efforts(self) -> list[int]:
        bits = self.index.b
        return [flips for flips in range(min(bits, 4) + 1) if _n_buckets(bits, flips) <= _MOST_BUCKETS]


def _n_buckets(bits, flips):
    """Number of keys of ``bits`` bits that differ from a given key in at most ``flips`` bits."""
    return sum(math.comb(bits, i) for i in range(flips + 1))


APPROXIMATE = {"ivf": InvertedLists, "hnsw": SmallWorldGraph, "multihash": MultiHash}
