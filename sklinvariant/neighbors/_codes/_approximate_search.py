"""Three approximate binary indexes of faiss: inverted lists, a graph of links, and hash tables."""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from sklinvariant.base import import_faiss
from sklinvariant.neighbors._codes._exact_search import in_parts

_MOST_BUCKETS = 1 << 16  # per query and table: looking up more takes longer than comparing all codes
# sizes of the parts passed to faiss, because Ctrl-C has no effect during a call
_SEARCHED = 1 << 10
_ADDED = 1 << 14
_PER_LIST = 64  # codes for each list from which k-means learns the centres
_MOST_LISTS = 1 << 12  # by default: each code is compared with all centres, so more of them make building slower


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
                index, view = _copied_index(data), None
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
        if self.data is not None:
            return self.data
        parts: list[bytes] = []
        self.write(parts.append)
        data, start = np.empty(sum(map(len, parts)), dtype=np.uint8), 0
        for i, part in enumerate(parts):
            data[start : start + len(part)] = np.frombuffer(part, dtype=np.uint8)
            start, parts[i] = start + len(part), b""
        return data

    def write(self, sink: Callable[[Any], Any]) -> None:
        """Call ``sink`` with the parts of `to_bytes`, without holding all of them in memory."""
        if self.data is not None:
            sink(np.ascontiguousarray(self.data).data)
            return
        faiss = import_faiss()

        def write(part):
            sink(part)

        faiss.write_index_binary(self.index, faiss.PyCallbackIOWriter(write))

    def __len__(self) -> int:
        return self.index.ntotal

    def outgrown(self, n: int, n_built: int, **knobs: Any) -> bool:
        """Whether an index built on ``n_built`` codes should be rebuilt when it holds n."""
        return n > 4 * n_built

    def add(self, codes: np.ndarray) -> None:
        """Append codes."""
        self._own()
        self._add(self.index, codes)

    def cut(self, n: int) -> bool:
        """Drop all codes after the first n, which an interrupted addition left. False if the index cannot do this."""
        return False

    def merges_with(self, other: "ApproximateIndex") -> bool:
        """Whether `merge` can append the codes of another index."""
        return False

    def merge(self, other: "ApproximateIndex") -> None:
        """Append the codes of another index, which is not changed, faster than `add` does."""
        raise NotImplementedError

    def _own(self):
        """Copy a view to memory of its own, which can grow."""
        if self.data is not None:
            self.index, self.data = _copied_index(self.data), None

    @staticmethod
    def _add(index, codes):
        for start in range(0, len(codes), _ADDED):
            index.add(codes[start : start + _ADDED])

    def search(self, queries: np.ndarray, k: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """As `exact_neighbors`. If fewer neighbours are found, the remaining rows are -1."""
        self._set_effort(effort)
        return in_parts(lambda part: self.index.search(part, k), queries, _SEARCHED)

    def _set_effort(self, effort):
        raise NotImplementedError

    def efforts(self) -> list[int]:
        """Increasing efforts to try."""
        raise NotImplementedError


def _copied_index(data):
    """The faiss index in its own memory, read from the output of `ApproximateIndex.to_bytes`."""
    faiss, start = import_faiss(), 0

    def read(n_bytes):
        nonlocal start
        start += n_bytes
        return data[start - n_bytes : start].tobytes()

    return faiss.read_index_binary(faiss.PyCallbackIOReader(read))


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
        """The row numbers in the lists are checked when a search returns them, because all lists may be mapped."""
        (n, width), lists = codes.shape, index.invlists
        if (index.ntotal, index.code_size, index.d, lists.code_size) != (n, width, 8 * width, width):
            return False
        return (
            index.nlist >= 1
            and lists.nlist == index.nlist
            and _is_flat(index.quantizer, index.nlist, width, faiss)
            and sum(lists.list_size(i) for i in range(index.nlist)) == n
        )

    @classmethod
    def build(
        cls, codes: np.ndarray, seed: int, *, n_lists: int | None, centers: np.ndarray | None = None, **_: Any
    ) -> Self:
        faiss = import_faiss()
        index = _trained(codes, n_lists, seed) if centers is None else _with_centers(centers)
        built = cls(index)
        nearest, sizes = built._nearest_centers(codes)
        _reserve(index.invlists, sizes)
        for start in range(0, len(codes), _ADDED):
            part = codes[start : start + _ADDED]
            lists = nearest[start : start + _ADDED].astype(np.int64)
            index.add_core(len(part), faiss.swig_ptr(part), None, faiss.swig_ptr(lists))
        return built

    @property
    def centers(self) -> np.ndarray:
        """The centres of the lists, packed."""
        faiss = import_faiss()
        flat = faiss.downcast_IndexBinary(self.index.quantizer)
        return np.array(faiss.rev_swig_ptr(flat.xb.data(), flat.ntotal * flat.code_size)).reshape(flat.ntotal, -1)

    def outgrown(
        self, n: int, n_built: int, *, n_lists: int | None, centers: np.ndarray | None = None, **_: Any
    ) -> bool:
        if centers is not None or n <= 4 * n_built:
            return False
        wanted = n_lists or _default_n_lists(n)
        return wanted > 1.5 * self.index.nlist or n_built < _PER_LIST * self.index.nlist

    def cut(self, n: int) -> bool:
        faiss, lists = import_faiss(), self.index.invlists
        for i in range(self.index.nlist):
            if size := lists.list_size(i):  # rows rise in every list
                lists.resize(i, int(np.searchsorted(faiss.rev_swig_ptr(lists.get_ids(i), size), n)))
        self.index.ntotal = sum(lists.list_size(i) for i in range(self.index.nlist))
        return self.index.ntotal == n

    def merges_with(self, other: ApproximateIndex) -> bool:
        return isinstance(other, InvertedLists) and other is not self and np.array_equal(self.centers, other.centers)

    def merge(self, other: ApproximateIndex) -> None:
        faiss = import_faiss()
        self._own()
        first, total = len(self), len(self) + len(other)
        self.index.ntotal = 0  # while the lists hold a part of the other index
        ours, theirs = self.index.invlists, other.index.invlists
        for i in range(self.index.nlist):
            if size := theirs.list_size(i):
                rows = faiss.rev_swig_ptr(theirs.get_ids(i), size) + first
                ours.add_entries(i, size, faiss.swig_ptr(rows), theirs.get_codes(i))
        self.index.ntotal = total

    def _nearest_centers(self, codes):
        """The list of each code, in the smallest integers that can hold it, and the number of codes of each list."""
        n_lists = self.index.nlist
        nearest, sizes = np.empty(len(codes), dtype=np.min_scalar_type(n_lists)), np.zeros(n_lists, dtype=np.int64)
        for start in range(0, len(codes), _ADDED):
            part = slice(start, start + _ADDED)
            nearest[part] = self.index.quantizer.search(codes[part], 1)[1][:, 0]
            sizes += np.bincount(nearest[part], minlength=n_lists)
        return nearest, sizes

    def _set_effort(self, effort):
        self.index.nprobe = min(effort, self.index.nlist)

    def efforts(self) -> list[int]:
        return _rising(1, self.index.nlist)


def _default_n_lists(n):
    return max(1, min(round(2 * math.sqrt(n)), n, _MOST_LISTS))


def _trained(codes, n_lists, seed):
    """Empty lists, whose centres are learned by k-means on a sample of codes."""
    n_lists = _default_n_lists(len(codes)) if n_lists is None else n_lists
    if n_lists > len(codes):
        raise ValueError(
            f"n_lists={n_lists} is more than the {len(codes)} codes, which is the largest accepted value. Lower "
            "n_lists or set it to None."
        )
    index = import_faiss().index_binary_factory(8 * codes.shape[1], f"BIVF{n_lists}")
    index.cp.seed, index.cp.niter = seed, 10
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _PER_LIST
    index.train(codes)
    return index


def _with_centers(centers):
    """Empty lists with given centres."""
    faiss = import_faiss()
    quantizer = faiss.IndexBinaryFlat(8 * centers.shape[1])
    quantizer.add(centers)
    index = faiss.IndexBinaryIVF(quantizer, quantizer.d, len(centers))
    index.is_trained = True
    return index


def _reserve(lists, sizes):
    """Allocate the memory of inverted lists at once: lists that grow take up to twice their size."""
    for i, size in enumerate(sizes.tolist()):
        lists.resize(i, size)
        lists.resize(i, 0)


class SmallWorldGraph(ApproximateIndex):
    """A graph that links near codes (HNSW). A search follows the links and keeps the best candidates."""

    _class = "IndexBinaryHNSW"

    def outgrown(self, n: int, n_built: int, **knobs: Any) -> bool:
        return False

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
