"""HammingNeighbors: search for the stored codes that differ from a query in the fewest bits."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import KW_ONLY
from numbers import Real
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sklinvariant._compat import fit_context
from sklinvariant.base import (
    Array,
    ArrayKind,
    Count,
    CountOrZero,
    Finite,
    FittedState,
    Input,
    Maybe,
    NJobs,
    Number,
    RandomState,
    Reader,
    RealNumber,
    Share,
    Text,
    TorchEstimator,
    Whole,
    accepts,
    declared,
    dense_tensor,
    faiss_threads,
    import_faiss,
    integers,
    is_count,
    load,
    save,
    to_numpy,
)
from sklinvariant.neighbors._binary_search import (
    APPROXIMATE,
    codes_within,
    exact_neighbors,
    pack_bits,
)

Radius = Annotated[float, Number(Real, 0, None, closed="both")]  # infinity finds all codes
_SAMPLE = 256  # number of codes on which the recall is measured
_FLIPPED = 1 / 64  # share of their bits that are flipped, because stored codes are easier to find than real queries
_EFFORT = {"ivf": "n_probes", "hnsw": "ef_search", "multihash": "n_flips"}
_MOST_REMOVED = 0.2  # share of removed codes above which an approximate index is rebuilt


def first_wanted(distances: np.ndarray, rows: np.ndarray, wanted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k wanted candidates of each row of (q, m), in order."""
    order = np.argsort(~wanted, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def recall_by_distance(distances: np.ndarray, exact_distances: np.ndarray) -> np.ndarray:
    """Share of the k nearest neighbours found for each query: (q, m) and (q, k) -> (q,).

    A code counts as found if it is at most as far as the k-th nearest, so ties count as found.
    """
    return (distances <= exact_distances[:, -1:]).sum(1) / exact_distances.shape[1]


class CodeReader(Reader):
    """Reads codes as contiguous bytes (n, n_bytes)."""

    needs = "codes"

    def _check(self, estimator, X, kind, reset):
        if reset or not _are_bytes_as_fitted(estimator, X):
            X = to_numpy(dense_tensor(X) if isinstance(X, torch.Tensor) else X)
            X = validate_data(estimator, X, dtype=None if estimator.packed else "numeric", reset=reset)
        codes = _packed_bytes(X) if estimator.packed else _packed_bits(X, estimator.binarize)
        return Input(codes, kind, torch.device("cpu"), torch.uint8)


def _are_bytes_as_fitted(estimator, X):
    """Whether scikit-learn's checks, which take as long as a search of 200,000 codes, can be skipped."""
    return (
        type(X) is np.ndarray
        and X.dtype == np.uint8
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
    )


def _packed_bytes(X):
    if X.dtype != np.uint8:
        raise ValueError(
            f"X has dtype {X.dtype}, but packed=True requires uint8. Pack the bits with numpy.packbits, or set "
            "packed=False."
        )
    return np.ascontiguousarray(X)


def _packed_bits(X, binarize):
    if X.dtype == np.uint8 and X.max() > 1:
        raise ValueError(
            f"X contains bytes up to {X.max()}, but with packed=False bits must be 0 or 1. Set packed=True for "
            "packed codes."
        )
    return pack_bits(X, binarize)


@declared
class HammingNeighbors(TorchEstimator):
    """Nearest neighbours among binary codes, by the number of bits that differ (Hamming distance).

    The interface follows scikit-learn's `NearestNeighbors`; faiss performs the search. ``index="exact"`` compares a
    query with all codes. The other indexes compare it with some of them. When they are built, the effort of a search is
    raised until the share ``recall`` of the true neighbours is found for a sample of the stored codes.

    Parameters
    ----------
    n_neighbors : int
        Number of neighbours to return for each query.
    radius : float
        Distance in bits within which `radius_neighbors` returns all codes; ``np.inf`` returns every code.
    index : {"exact", "ivf", "hnsw", "multihash"}
        "exact" compares a query with all codes, "ivf" with those in the nearest lists. "hnsw" follows a graph of links
        between near codes; it is the fastest to search and the slowest to build. "multihash" looks up parts of the code
        in hash tables, and suits close neighbours in short codes.
    recall : float
        Share of the true neighbours that an approximate index must find on a sample of stored codes, in which one bit
        in 64 is flipped, minus two standard errors. Raising it makes searches slower.
    n_lists : int or None
        Number of lists of "ivf". None takes two times the square root of the number of codes.
    n_probes : int or None
        Number of lists that a query reads. None takes as many as ``recall`` requires. Raising it finds more neighbours,
        but is slower.
    n_links : int
        Number of links per code in "hnsw", at most 2048. Raising it finds more neighbours, but takes more memory and
        time to build.
    ef_construction : int
        Number of candidates while "hnsw" is built. Raising it gives a better graph, but takes longer.
    ef_search : int or None
        Number of candidates of a query in "hnsw". None takes as many as ``recall`` requires.
    n_tables : int
        Number of tables of "multihash". Raising it finds more neighbours, but for short codes each table hashes fewer
        bits.
    table_bits : int or None
        Number of bits that a table hashes, at most 64; all tables together must not exceed the length of a code. None
        takes the logarithm of the number of codes, if there are enough bits. Raising it compares fewer codes and finds
        fewer neighbours.
    n_flips : int or None
        Maximum number of bits that a query of "multihash" flips in the key of a table. None takes as many as ``recall``
        requires, up to 4.
    packed : bool
        Whether X contains bytes of 8 bits each (``np.packbits``) instead of one number per bit.
    binarize : float
        Without ``packed``, a bit is 1 if X is greater than this threshold, as in `BernoulliNB`. The default suits codes
        of 0 and 1, of -1 and 1, booleans, and scores around 0; set 0.5 for probabilities.
    n_jobs : int or None
        Number of faiss threads, at most one per core. None keeps faiss's own setting (one per core); -1 uses all cores.
        The graph of "hnsw" is reproducible only with 1, because several threads link codes in varying order.
    random_state : int, RandomState or None
        Seeds the lists of "ivf" and the sample for ``recall``.

    Attributes
    ----------
    codes_ : ndarray of shape (n_samples, n_bytes), uint8
        The stored codes, packed.
    ids_ : ndarray of shape (n_samples,), int64
        The id of each stored code.
    n_samples_fit_ : int
        Number of stored codes, without removed ones.
    recall_ : float
        Share of the true ``n_neighbors`` found in the last measurement on the sample; 1.0 for "exact".
    effort_ : int or None
        The ``n_probes``, ``ef_search`` or ``n_flips`` used by searches; None for "exact".

    Notes
    -----
    Distances are numbers of bits, whereas scikit-learn's ``metric="hamming"`` returns shares of bits. The order of
    codes at equal distance is not defined. If an index finds too few neighbours, for instance because most were
    removed, the query is searched exactly, so that there are always ``n_neighbors`` neighbours. `radius_neighbors` is
    always exact.

    Adding codes copies those stored before (8 MB per million codes of 64 bits), so add many at a time. Packed codes are
    stored without a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.neighbors import HammingNeighbors
    >>> codes = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    >>> neighbors = HammingNeighbors(n_neighbors=2).fit(codes, ids=[10, 20, 30])
    >>> distances, ids = neighbors.kneighbors([[0, 0, 0, 1]])
    >>> sorted(ids[0].tolist()), distances[0].tolist()
    ([10, 20], [1, 1])
    """

    n_neighbors: Count = 5
    _: KW_ONLY
    radius: Radius = 8
    index: Literal["exact", "ivf", "hnsw", "multihash"] = "exact"
    recall: Share = 0.95
    n_lists: Count | None = None
    n_probes: Count | None = None
    n_links: Annotated[int, integers(2, 2048)] = 16
    ef_construction: Count = 40
    ef_search: Count | None = None
    n_tables: Count = 3
    table_bits: Annotated[int, integers(1, 64)] | None = None
    n_flips: CountOrZero | None = None
    packed: bool = False
    binarize: Finite = 0.0
    n_jobs: NJobs = None
    random_state: RandomState = None

    _layout = {
        "codes": Array("n", "bytes of a code", kinds="u"),
        "ids": Maybe(Array("n", kinds="i")),
        "removed": Maybe(Array("n", kinds="b")),
        "next_id": Whole(0),
        "kind": Text("exact", *_EFFORT),
        "index": Maybe(Array(None, kinds="u")),
        "effort": Maybe(Whole(0, 1 << 30)),
        "recall": RealNumber(),
        "n_built": Whole(0),
        "n_measured": Maybe(Whole(0)),
    }

    _reader = CodeReader()
    _shared_docs = """
        X : array of shape (n_queries, n_bits), or packed, or None
            Codes as in `fit`. None searches the neighbours of each stored code, excluding itself.
        n_neighbors : int or None
            Number of neighbours. None takes the parameter of the estimator.
        radius : float or None
            Largest distance in bits, inclusive. None takes the parameter of the estimator.
        return_distance : bool
            Whether to return the distances.
        sort_results : bool
            Sort by distance. Otherwise codes are in the order in which they were stored.
        mode : {"connectivity", "distance"}
            Ones, or bits that differ.
        """

    recall_ = FittedState()

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Store codes, and discard those stored before.

        Parameters
        ----------
        X : array of shape (n, n_bits), or (n, n_bytes) uint8 if ``packed``
            Codes.
        ids : array-like of n integers or None, default=None
            Unique ids of the codes, which searches return. None takes the row numbers.

        Raises
        ------
        ImportError
            If faiss is not installed.
        ValueError
            If X or ids are not valid.
        """
        import_faiss()
        given = self._read(X, reset=True)
        codes = given.data
        if not self.packed and len(codes) > 1 and (codes == codes[0]).all():
            warnings.warn(
                f"all {len(codes)} codes are equal. Check that binarize={self.binarize} is the right threshold.",
                stacklevel=2,
            )
        ids, next_id = _check_ids(ids, len(codes), 0)
        self._state = {
            "codes": codes,
            "ids": ids,
            "next_id": next_id,
            "removed": None,
            "kind": self.index,
            "index": None,
            "namespace": given.kind.name,
        }
        self._build()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Add codes to the stored ones.

        Parameters
        ----------
        X, y, ids
            As in `fit`. ids must be new; None continues after the largest id.
        """
        if not hasattr(self, "_state"):
            return self.fit(X, ids=ids)
        added = self._read(X).data
        state = dict(self._state)
        if ids is None and state["next_id"] + len(added) > np.iinfo(np.int64).max:
            raise ValueError(
                f"ids=None continues after the largest id, {state['next_id'] - 1}, but ids must fit into int64. Pass "
                "ids."
            )
        added_ids, next_id = _check_ids(ids, len(added), state["next_id"])
        if added_ids is not None or state["ids"] is not None:
            before = self._all_ids()
            if added_ids is None:
                added_ids = np.arange(state["next_id"], next_id)
            elif (known := np.isin(added_ids, self.ids_)).any():
                raise ValueError(
                    f"id {added_ids[known][0]} is already stored, but ids must be unique. Remove it first."
                )
            state["ids"] = np.concatenate([before, added_ids])
        state["next_id"] = max(next_id, state["next_id"])
        state["codes"] = np.concatenate([state["codes"], added])
        if state["removed"] is not None:
            state["removed"] = np.concatenate([state["removed"], np.zeros(len(added), dtype=bool)])
        self._add(state, added)
        return self

    def remove(self, ids: Any) -> Self:
        """Remove codes.

        An approximate index skips removed codes, and is rebuilt when more than a fifth of its codes are removed.

        Parameters
        ----------
        ids : int or array-like of int
            Ids of stored codes.

        Raises
        ------
        ValueError
            If an id is not stored. In this case nothing is removed.
        """
        check_is_fitted(self)
        ids = np.unique(_whole_numbers(np.atleast_1d(ids)))
        unknown = np.setdiff1d(ids, self.ids_)
        if len(unknown):
            raise ValueError(f"id {unknown[0]} is not stored, but only stored codes can be removed. See ids_.")
        state = dict(self._state)
        state["ids"] = self._all_ids()
        gone = np.isin(state["ids"], ids)
        state["removed"] = gone if state["removed"] is None else gone | state["removed"]
        few = state["kind"] != "exact" and state["removed"].mean() <= _MOST_REMOVED
        self._state = state
        if not few:
            keep = ~state["removed"]
            state.update(codes=state["codes"][keep], ids=state["ids"][keep], removed=None)
            self._build()
        return self

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Find the nearest stored codes of each query, nearest first.

        Returns
        -------
        distances : (n_queries, n_neighbors) int32
            Numbers of bits that differ; only with ``return_distance``.
        ids : (n_queries, n_neighbors) int64
            Ids of the neighbours. Both are tensors if X is a tensor.

        Raises
        ------
        ValueError
            If fewer codes than ``n_neighbors`` are stored.
        """
        given, itself = self._check_queries(X)
        distances, rows = self._nearest(given.data, self._check_k(n_neighbors, itself), itself)
        ids = given.answer(self._ids_of(rows))
        return (given.answer(distances), ids) if return_distance else ids

    def radius_neighbors(
        self, X: Any = None, radius: float | None = None, return_distance: bool = True, sort_results: bool = False
    ) -> Any:
        """Find all stored codes within a distance of each query.

        Returns
        -------
        distances, ids
            Object arrays with one array for each query, as in scikit-learn; lists of tensors if X is a tensor.
        """
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        given, itself = self._check_queries(X)
        found = self._within(given.data, radius, itself, sort_results)
        distances = _ragged([given.answer(d) for d, _ in found], given.kind)
        ids = _ragged([given.answer(self._ids_of(rows)) for _, rows in found], given.kind)
        return (distances, ids) if return_distance else ids

    def kneighbors_graph(self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity") -> csr_matrix:
        """The neighbours as a sparse graph.

        Returns
        -------
        csr_matrix of shape (n_queries, n_samples)
            Column j is the code with id ``ids_[j]``.
        """
        _check_mode(mode)
        given, itself = self._check_queries(X)
        distances, rows = self._nearest(given.data, self._check_k(n_neighbors, itself), itself)
        limits = np.arange(len(rows) + 1) * rows.shape[1]
        return self._graph(distances.ravel(), rows.ravel(), limits, mode)

    def radius_neighbors_graph(
        self, X: Any = None, radius: float | None = None, mode: str = "connectivity", sort_results: bool = False
    ) -> csr_matrix:
        """The codes within a distance as a sparse graph.

        Returns
        -------
        csr_matrix of shape (n_queries, n_samples)
            Column j is the code with id ``ids_[j]``.
        """
        _check_mode(mode)
        given, itself = self._check_queries(X)
        found = self._within(given.data, radius, itself, sort_results)
        limits = np.concatenate([[0], np.cumsum([len(rows) for _, rows in found])])
        return self._graph(*(np.concatenate(parts) for parts in zip(*found, strict=True)), limits, mode)  # type: ignore[call-arg]

    def estimate_recall(self, X: Any, n_neighbors: int | None = None) -> float:
        """Share of the true neighbours that `kneighbors` finds for given queries.

        Parameters
        ----------
        X : array of shape (n_queries, n_bits), or packed
            Queries. A few hundred suffice; they are also searched exactly.

        Returns
        -------
        float
            The recall, between 0 and 1. Codes at the distance of the last true neighbour count as found.
        """
        given, itself = self._check_queries(X)
        k = self._check_k(n_neighbors, itself)
        distances, _ = self._nearest(given.data, k, itself)
        exact_distances, _ = self._exact(given.data, k, itself)
        return float(recall_by_distance(distances, exact_distances).mean())

    def save(self, path: str | os.PathLike) -> None:
        """Write the index to a file, atomically: see `sklinvariant.save`."""
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike, *, mmap_mode: Literal["r"] | None = None) -> Self:
        """Read an index written by `save`: see `sklinvariant.load`.

        Parameters
        ----------
        path : str or path-like
            The file.
        mmap_mode : {"r", None}, default=None
            "r" memory-maps codes, ids and index, so that searches read only what they need (the tables of "multihash"
            are always read). The contents are then not checked against the checksum of the file.

        Returns
        -------
        HammingNeighbors
            The index.
        """
        loaded = load(path, mmap_mode=mmap_mode)
        if not isinstance(loaded, cls):
            raise ValueError(
                f"{path} contains a {type(loaded).__name__}, but a {cls.__name__} is required. Use sklinvariant.load."
            )
        return loaded

    @property
    def codes_(self) -> np.ndarray:
        return self._stored("codes")

    @property
    def ids_(self) -> np.ndarray:
        return np.arange(len(self.codes_)) if self._fitted("ids") is None else self._stored("ids")

    @property
    def n_samples_fit_(self) -> int:
        codes, removed = self._fitted("codes"), self._state["removed"]
        return len(codes) if removed is None else int((~removed).sum())

    @property
    def effort_(self) -> int | None:
        kind = self._fitted("kind")
        given = getattr(self, _EFFORT[kind]) if kind != "exact" else None
        if given is None:
            return self._state["effort"]
        if not is_count(given, 0 if kind == "multihash" else 1):
            raise ValueError(f"{_EFFORT[kind]}={given!r} is not valid. Pass a positive integer, or None.")
        return given

    def __getstate__(self) -> dict[str, Any]:
        """The state with the index as bytes, because faiss objects cannot be pickled."""
        state = dict(super().__getstate__())
        live = state.pop("_live", None)
        if live is not None:
            state["_state"] = {**state["_state"], "index": live.to_bytes()}
        return state

    def _check_layout(self):
        state = self._state
        codes, ids, index = (state[name] for name in ("codes", "ids", "index"))
        n_bytes = self.n_features_in_ if self.packed else -(-self.n_features_in_ // 8)
        if codes.shape[1] != n_bytes:
            raise ValueError(f"codes should have {n_bytes} bytes, got {codes.shape[1]}")
        for name, array, dtype in (("codes", codes, np.uint8), ("ids", ids, np.int64), ("index", index, np.uint8)):
            if array is not None and array.dtype != dtype:
                raise ValueError(f"{name} should be of {np.dtype(dtype)}, got {array.dtype}")
        if state["kind"] != "exact" and (state["effort"] is None) != (len(codes) == 0):
            raise ValueError(f"an index of kind {state['kind']!r} needs an effort to search with")

    def _stored(self, name):
        """An array of the fitted state, without the rows of removed codes."""
        rows, removed = self._fitted(name), self._state["removed"]
        return rows if removed is None else rows[~removed]

    def _fitted(self, name):
        if not hasattr(self, "_state"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet. Call fit first.")
        return self._state[name]

    def _all_ids(self):
        ids = self._state["ids"]
        return np.arange(len(self._state["codes"])) if ids is None else ids

    def _ids_of(self, rows):
        return rows if self._state["ids"] is None else self._state["ids"][rows]

    def _check_queries(self, X):
        """The `Input` of packed queries, and the rows to exclude; with None the stored codes are the queries."""
        if X is not None:
            return self._read(X), None
        removed, n = self._state["removed"], len(self._state["codes"])
        itself = np.arange(n) if removed is None else np.flatnonzero(~removed)
        return Input(self.codes_, ArrayKind(None), torch.device("cpu"), torch.uint8), itself

    def _check_k(self, n_neighbors, itself):
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if not is_count(k):
            raise ValueError(f"n_neighbors={k!r} is not valid. Pass an integer of at least 1.")
        n, sign = self.n_samples_fit_, "<=" if itself is None else "<"
        if k > n - (itself is not None):
            raise ValueError(f"Expected n_neighbors {sign} n_samples_fit, but n_neighbors = {k}, n_samples_fit = {n}")
        return int(k)

    def _exact(self, queries, k, itself):
        codes, removed = self.codes_, self._state["removed"]
        with faiss_threads(self.n_jobs):
            distances, rows = exact_neighbors(queries, codes, k + (itself is not None))
        if removed is not None:
            rows = np.flatnonzero(~removed)[rows]
        return (distances, rows) if itself is None else first_wanted(distances, rows, rows != itself[:, None], k)

    def _nearest(self, queries, k, itself):
        """Distances and rows of the k nearest codes, excluding the rows ``itself``."""
        live = self._live_index()
        if live is None:
            return self._exact(queries, k, itself)
        with faiss_threads(self.n_jobs):
            distances, rows, wanted = self._candidates(live, queries, k, itself, self.effort_)
        short = np.flatnonzero(wanted.sum(1) < k)
        distances, rows = first_wanted(distances, rows, wanted, k)
        if len(short):
            distances[short], rows[short] = self._exact(queries[short], k, None if itself is None else itself[short])
        return distances, rows

    def _candidates(self, live, queries, k, itself, effort):
        """Candidates of an approximate index, nearest first: distances, rows, and a mask of the wanted ones."""
        removed = self._state["removed"]
        spare = 0 if removed is None else math.ceil(2 * k * removed.mean())
        distances, rows = live.search(queries, min(k + (itself is not None) + spare, len(live)), effort)
        wanted = rows >= 0
        if removed is not None:
            wanted &= ~removed[rows]
        if itself is not None:
            wanted &= rows != itself[:, None]
        return distances, rows, wanted

    def _within(self, queries, radius, itself, sort):
        """Distances and rows within the radius, for each query."""
        radius = self.radius if radius is None else radius
        if not accepts(Radius, radius):
            raise ValueError(f"radius={radius!r} is not valid. Pass a number of bits of at least 0, or infinity.")
        removed = self._state["removed"]
        with faiss_threads(self.n_jobs):
            limits, distances, rows = codes_within(queries, self.codes_, min(radius, 8 * queries.shape[1]))
        if removed is not None:
            rows = np.flatnonzero(~removed)[rows]
        found = []
        for i in range(len(queries)):
            part = slice(limits[i], limits[i + 1])
            d, r = distances[part], rows[part]
            if itself is not None:
                d, r = d[r != itself[i]], r[r != itself[i]]
            if sort:
                order = np.argsort(d, kind="stable")
                d, r = d[order], r[order]
            found.append((d, r))
        return found

    def _graph(self, distances, rows, limits, mode):
        removed = self._state["removed"]
        columns = rows if removed is None else (np.cumsum(~removed) - 1)[rows]
        values = distances.astype(np.float64) if mode == "distance" else np.ones(len(rows))
        return csr_matrix((values, columns, limits), shape=(len(limits) - 1, self.n_samples_fit_))

    def _build(self):
        """Build the approximate index of the stored codes, and find the required effort."""
        state = self._state
        state.update(effort=None, recall=1.0, index=None, n_built=len(state["codes"]))
        self._live = None
        if state["kind"] == "exact" or len(state["codes"]) == 0:
            return
        knobs = {
            name: getattr(self, name) for name in ("n_lists", "n_links", "ef_construction", "n_tables", "table_bits")
        }
        with faiss_threads(self.n_jobs):
            seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
            self._live = APPROXIMATE[state["kind"]].build(state["codes"], seed, **knobs)
            self._find_effort()

    def _add(self, state, added):
        """The new state, whose last codes are ``added``."""
        live = self._live_index()
        built = self._state["n_built"]
        self._state = state
        if live is None or (live.regrows and len(state["codes"]) > 4 * built):
            self._build()
            return
        with faiss_threads(self.n_jobs):
            live.add(added)
            state["index"] = None
            if len(state["codes"]) > 2 * state["n_measured"]:
                self._find_effort()

    def _live_index(self):
        """The faiss index: the one in memory, else read from its bytes, else rebuilt."""
        state = self._state
        if state["kind"] == "exact" or len(state["codes"]) == 0:
            return None
        live = getattr(self, "_live", None)
        if live is None and state["index"] is not None:
            knobs = {"n_tables": self.n_tables, "table_bits": self.table_bits, "n_built": state["n_built"]}
            try:
                live = self._live = APPROXIMATE[state["kind"]].from_bytes(state["index"], state["codes"], **knobs)
            except ValueError as error:
                raise ValueError(
                    f"the index {state['kind']!r} of this {type(self).__name__} is damaged ({error}). Load it from an "
                    "intact file, or fit it again on its codes_."
                ) from error
        if live is None or len(live) != len(state["codes"]):  # a search or an addition was interrupted
            self._build()
        return self._live

    def _find_effort(self):
        """Raise the effort until the share ``recall`` of the neighbours of a sample of stored codes is found."""
        state = self._state
        live: Any = self._live
        codes, k = self.codes_, min(self.n_neighbors, self.n_samples_fit_ - 1)
        state["n_measured"] = len(state["codes"])
        rng = check_random_state(self.random_state)
        sample = codes[np.sort(rng.permutation(len(codes))[:_SAMPLE])]
        sample = sample ^ np.packbits(rng.random_sample((len(sample), 8 * sample.shape[1])) < _FLIPPED, axis=1)
        given = getattr(self, _EFFORT[state["kind"]])
        exact_distances: Any = exact_neighbors(sample, codes, k + 1)[0] if k > 0 else None
        for effort in live.efforts() if given is None else [given]:
            shares = np.ones(1)
            if k > 0:  # the first of k + 1 is usually the code from which the query was made
                distances, _, wanted = self._candidates(live, sample, k + 1, None, effort)
                found = np.sort(np.where(wanted, distances, np.iinfo(np.int32).max), axis=1)[:, : k + 1]
                shares = recall_by_distance(found[:, 1:], exact_distances[:, 1:])
            state.update(effort=int(effort), recall=float(shares.mean()))
            if shares.mean() - 2 * shares.std() / math.sqrt(len(shares)) >= self.recall:
                return
        if given is None and state["recall"] < self.recall:
            warnings.warn(
                f"index={state['kind']!r} finds {state['recall']:.3f} of the {k} nearest neighbours on a sample, less "
                f"than recall={self.recall}. Choose another index, or raise n_links, ef_construction or n_tables.",
                stacklevel=2,
            )


def _check_mode(mode):
    if mode not in ("connectivity", "distance"):
        raise ValueError(f"mode={mode!r} is unknown. Choose 'connectivity' or 'distance'.")


def _whole_numbers(ids):
    ids = np.asarray(to_numpy(ids))
    if ids.size == 0:
        return np.empty(0, dtype=np.int64)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or (ids.dtype == np.uint64 and (ids > np.iinfo(np.int64).max).any()):
        raise ValueError(
            f"ids has dtype {ids.dtype} and shape {ids.shape}, but integers (int64) of shape (n,) are required. Pass "
            "one integer for each code."
        )
    return ids.astype(np.int64)


def _check_ids(ids, n, first):
    """The ids (None if they continue from ``first``), and the next free id."""
    if ids is None:
        return None, first + n
    ids = _whole_numbers(ids)
    if len(ids) != n:
        raise ValueError(f"ids has {len(ids)} entries, but there are {n} codes. Pass one id for each code.")
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"ids contains {values[counts > 1][0]} {counts.max()} times, but ids must be unique. Remove duplicates."
        )
    return ids, int(values[-1]) + 1


def _ragged(arrays, kind):
    if kind.tensor_device is not None:
        return arrays
    result = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):  # one by one, because np.array would stack arrays of equal length
        result[i] = array
    return result
