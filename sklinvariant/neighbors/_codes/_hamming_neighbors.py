"""HammingNeighbors: search for the stored codes that differ from a query in the fewest bits."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklinvariant._compat import fit_context
from sklinvariant._warnings import warn
from sklinvariant.base import (
    Count,
    CountOrZero,
    Device,
    Finite,
    FiniteArray,
    NJobs,
    RandomState,
    Share,
    declared,
    import_faiss,
    integers,
    is_stream,
    resolve_device,
)
from sklinvariant.neighbors._codes._code_reader import CodeReader
from sklinvariant.neighbors._codes._indexed_codes import _MOST_REMOVED, IndexedCodes, Radius
from sklinvariant.neighbors._codes._search_effort import recall_by_distance
from sklinvariant.neighbors._codes._stored_codes import GrowingRows, check_ids, whole_numbers
from sklinvariant.neighbors._neighbor_index import NeighborIndex


@declared
class HammingNeighbors(NeighborIndex, IndexedCodes):
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
        Number of lists of "ivf". None takes two times the square root of the number of codes, at most 4096.
    centers : ndarray of shape (n_lists, n_bytes), uint8, or None
        Centres of the lists of "ivf", packed: the ``centers_`` of an index that was fitted on a sample. Indexes with
        the same centres can be built apart and merged quickly. None learns centres by k-means.
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
    device : str or torch.device
        Where `kneighbors` compares queries with all codes. On the "cpu" faiss does. On "cuda" the first search copies
        the codes to the memory of the GPU, 8 bytes for each code of 64 bits. "auto" is "cuda" if it is available,
        otherwise "cpu". Approximate indexes and `radius_neighbors` always search on the CPU.

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
    centers_ : ndarray of shape (n_lists, n_bytes), uint8
        The centres of the lists of "ivf", packed.
    effort_ : int or None
        The ``n_probes``, ``ef_search`` or ``n_flips`` used by searches; None for "exact".

    See Also
    --------
    EmbeddingNeighbors : Searches real vectors.

    Notes
    -----
    Distances are numbers of bits, whereas scikit-learn's ``metric="hamming"`` returns shares of bits. The order of
    codes at equal distance is not defined. If an index finds too few neighbours, for instance because most were
    removed, the query is searched exactly, so that there are always ``n_neighbors`` neighbours. `radius_neighbors` is
    always exact.

    Packed codes, also those mapped from a file, are stored without a copy. `partial_fit` copies only what it adds,
    except when the memory of the stored codes must grow by half.

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
    centers: FiniteArray | None = None
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
    device: Device = "cpu"

    _fits_streams = True
    _reader = CodeReader()
    _shared_docs = """
        ids : array-like of n integers or None
            Unique ids of the codes. None continues after the largest stored id, or takes the row numbers.
        """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Store codes, and discard those stored before.

        Parameters
        ----------
        X : array of shape (n, n_bits), or (n, n_bytes) uint8 if ``packed``, or iterable of such arrays
            Codes. An iterable, such as a generator, is read once, one array at a time. A list is read as one array.

        Raises
        ------
        ImportError
            If faiss is not installed.
        ValueError
            If X or ids are not valid.
        """
        import_faiss()
        resolve_device(self.device)
        given, codes, growing = self._read_codes(X)
        if not self.packed and len(codes) > 1 and (codes == codes[0]).all():
            warn(
                f"all {len(codes)} codes are equal. Check that binarize={self.binarize} is the right threshold.",
            )
        given_ids = ids is not None
        ids, next_id = check_ids(ids, len(codes), 0)
        self._state = {
            "codes": codes,
            "ids": ids,
            "own_ids": given_ids,
            "next_id": next_id,
            "removed": None,
            "kind": self.index,
            "index": None,
            "namespace": given.kind.name,
        }
        self._growing, self._placed = {"codes": growing}, None
        self._build()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Add codes to the stored ones.

        Parameters
        ----------
        X : array of shape (n, n_bits), or (n, n_bytes) uint8 if ``packed``
            Codes.
        """
        if not hasattr(self, "_state"):
            return self.fit(X, ids=ids)
        added, given_ids = self._read(X).data, ids is not None
        ids, next_id = check_ids(ids, len(added), self._state["next_id"])
        self._check_new(ids)
        self._add(self._with_added(added, ids, next_id, given_ids), lambda live: live.add(added))
        return self

    def merge(self, other: HammingNeighbors) -> Self:
        """Add the codes of another index, which is not changed.

        Two "ivf" indexes with the same ``centers`` are merged list by list. Other indexes add the codes as
        `partial_fit` does.

        Parameters
        ----------
        other : HammingNeighbors
            An index of codes of the same length. If ids were passed to it, they must be new. Otherwise its ids are
            shifted to continue after the largest id of this index.

        Raises
        ------
        ValueError
            If the other index has codes of another length, or ids that are stored here. Nothing is added.
        """
        check_is_fitted(self)
        if not isinstance(other, HammingNeighbors):
            raise TypeError(f"other is a {type(other).__name__}, but a fitted HammingNeighbors is required.")
        check_is_fitted(other)
        if (other.packed, other.n_features_in_) != (self.packed, self.n_features_in_):
            raise ValueError(
                f"other has {other.n_features_in_} features with packed={other.packed}, but this index has "
                f"{self.n_features_in_} with packed={self.packed}. Merge indexes of codes of the same length."
            )
        added, own = other.codes_, other._has_own_ids()
        if len(added) == 0:
            return self
        first = 0 if own else self._state["next_id"]
        in_order = not own and len(added) == other._state["next_id"]
        ids, next_id = check_ids(None if in_order else first + other.ids_, len(added), first)
        self._check_new(ids)
        theirs = other._live_index() if other._n_removed() == 0 else None

        def extend(live):
            if theirs is not None and live.merges_with(theirs):
                live.merge(theirs)
            else:
                live.add(added)

        self._add(self._with_added(added, ids, max(next_id, first + other._state["next_id"]), own), extend)
        return self

    def remove(self, ids: Any) -> Self:
        """Remove codes.

        An approximate index skips removed codes, and is rebuilt when more than a fifth of its codes are removed. An
        exact index copies the codes that remain, so remove many at a time.

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
        ids = np.unique(whole_numbers(np.atleast_1d(ids)))
        rows = self._rows_of(ids)
        if len(rows) < len(ids):
            unknown = np.setdiff1d(ids, self._ids_of(rows))[0]
            raise ValueError(f"id {unknown} is not stored, but only stored codes can be removed. See ids_.")
        if len(rows) == 0:
            return self
        state = dict(self._state)
        n = len(state["codes"])
        state["removed"] = np.zeros(n, dtype=bool) if state["removed"] is None else state["removed"].copy()
        state["removed"][rows] = True
        n_removed = self._n_removed() + len(rows)
        if state["kind"] != "exact" and n_removed <= _MOST_REMOVED * n:
            self._state = state
            return self
        keep = np.flatnonzero(~state["removed"])
        state.update(codes=state["codes"][keep], ids=self._ids_of(keep), removed=None)
        self._state, self._growing, self._placed = state, {}, None
        self._build()
        return self

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
        _, queries, itself = self._check_queries(X)
        k = self._check_k(n_neighbors, itself)
        distances, _ = self._nearest(queries, k, itself)
        exact_distances, _ = self._exact(queries, k, itself)
        return float(recall_by_distance(distances, exact_distances).mean())

    def _read_codes(self, X):
        """The `Input`, all codes of X, and the memory that holds them if X is an iterable of blocks."""
        if not is_stream(X):
            given = self._read(X, reset=True)
            return given, given.data, GrowingRows()
        growing, codes = GrowingRows(), None
        for given in self._read_blocks(X):
            codes = growing.extended(given.data[:0] if codes is None else codes, given.data)
        return given, codes, growing

    def _check_new(self, ids):
        """Raise a ValueError if one of these ids is stored."""
        if ids is None or len(ids) == 0 or ids.min() >= self._state["next_id"]:
            return
        known = self._rows_of(ids)
        if len(known):
            first = ids[np.isin(ids, self._ids_of(known))][0]
            raise ValueError(f"id {first} is already stored, but ids must be unique. Remove it first.")
