"""Nearest neighbours of binary codes, exactly or nearly, by faiss; the codes themselves are the model."""

import copy
import warnings
from numbers import Integral, Real

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from sklinvariant._base import TorchEstimator, keeps_state_on_failure, to_numpy

_COUNT = Interval(Integral, 1, None, closed="left")
_SAMPLE = 200  # codes that recall is estimated on
_EFFORTS = {  # knob of the search, and the values tried until the recall is reached
    "ivf": ("n_probe", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)),
    "hnsw": ("ef_search", (16, 32, 64, 128, 256, 512, 1024)),
    "multihash": ("n_flips", (0, 1, 2, 3, 4)),
}


class HammingNeighbors(TorchEstimator):
    """Search among binary codes by Hamming distance, as scikit-learn's NearestNeighbors searches among vectors.

    Parameters
    ----------
    n_neighbors : int, default=5
        Neighbours of a query.
    radius : float, default=8
        Bits in which neighbours of `radius_neighbors` may differ from a query.
    index : {"exact", "ivf", "hnsw", "multihash"}, default="exact"
        "exact" compares with all codes. The others look at some: "ivf" at the nearest of ``n_lists`` clusters, "hnsw"
        along a graph (fastest, slow to build, the most memory), "multihash" at codes that share a part of their bits
        (quick to build, good for near neighbours).
    effort : int or None, default=None
        How much of an approximate index is looked at: clusters of "ivf", length of the list of candidates of "hnsw",
        flipped bits of a part of "multihash". None doubles it (adds one, of flipped bits) until ``min_recall`` is
        reached on codes of the index.
    min_recall : float, default=0.95
        Part of the true neighbours that is to be found, where ``effort`` is None.
    n_lists : int or None, default=None
        Clusters of "ivf"; None takes the square root of the number of codes.
    n_links : int, default=32
        Links of a code of "hnsw".
    n_hashes : int or None, default=None
        Parts of "multihash", whose bits are numbered by turns; None takes as many as give each part the bits that
        number the codes.
    packed : bool, default=False
        Codes come as bytes of 8 bits each, as hashers with ``packed=True`` give them. Otherwise each column is a bit:
        0 and 1, or any numbers, of which those above 0 are 1.
    random_state : int, RandomState or None, default=None
        Seeds the choice of codes that recall is estimated on.

    Attributes
    ----------
    ids_ : array of shape (n,)
        int64 names of the codes.
    effort_ : int or None
        What was given or found; None of an exact index.
    recall_ : float
        Part of the true ``n_neighbors`` neighbours of codes of the index that is found; 1 of an exact index.

    Notes
    -----
    faiss (the extra "faiss") does the searching, with all threads that it has. `sklinvariant.save` writes an index
    as a whole or not at all, and ``sklinvariant.load(path, mmap=True)`` leaves the codes in the file.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.hashing import HammingNeighbors
    >>> codes = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    >>> index = HammingNeighbors(n_neighbors=2).fit(codes)
    >>> index.kneighbors([[0, 1, 1, 1]])
    (array([[1., 1.]]), array([[1, 2]]))
    """

    _parameter_constraints = {
        "n_neighbors": [_COUNT],
        "radius": [Interval(Real, 0, None, closed="left")],
        "index": [StrOptions({"exact", *_EFFORTS})],
        "effort": [Interval(Integral, 0, None, closed="left"), None],
        "min_recall": [Interval(Real, 0, 1, closed="both")],
        "n_lists": [_COUNT, None],
        "n_links": [Interval(Integral, 2, None, closed="left")],
        "n_hashes": [_COUNT, None],
        "packed": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_neighbors=5,
        *,
        radius=8,
        index="exact",
        effort=None,
        min_recall=0.95,
        n_lists=None,
        n_links=32,
        n_hashes=None,
        packed=False,
        random_state=None,
    ):
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.index = index
        self.effort = effort
        self.min_recall = min_recall
        self.n_lists = n_lists
        self.n_links = n_links
        self.n_hashes = n_hashes
        self.packed = packed
        self.random_state = random_state

    @keeps_state_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, ids=None):
        """Index codes.

        Parameters
        ----------
        X : array of shape (n, n_bits) or (n, n_bytes)
            Codes.
        y : None
            Ignored.
        ids : array of int of shape (n,), default=None
            Names that searches give back, each once; None numbers the codes from 0.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Where faiss is missing.
        ValueError
            For bad codes, and ids that occur twice or are no whole numbers.
        """
        codes = self._pack(X, reset=True)
        self._keep(codes, _check_ids(ids, len(codes), np.empty(0, np.int64)))
        return self._build()

    @keeps_state_on_failure
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, ids=None):
        """Add codes to the index; clusters, graph and effort stay as they were found.

        Parameters
        ----------
        X : array of shape (n, n_bits) or (n, n_bytes)
        y : None
            Ignored.
        ids : array of int of shape (n,), default=None
            Their names, none of which is in the index; None goes on from the largest there is.

        Returns
        -------
        self
        """
        if not hasattr(self, "_state"):
            return self.fit(X, ids=ids)
        codes = self._pack(X, reset=False)
        ids = _check_ids(ids, len(codes), self.ids_)
        effort, recall = self.effort_, self.recall_
        if self.index != "exact":
            self._faiss_index = copy.copy(self._searcher())
            self._faiss_index.add(codes)
        self._keep(np.concatenate([self._state["codes"], codes]), np.concatenate([self.ids_, ids]))
        self._state |= {"effort": effort, "recall": recall}
        return self

    @keeps_state_on_failure
    def remove(self, ids):
        """Take codes out of the index; an approximate one is built anew.

        Parameters
        ----------
        ids : array of int
            Names of codes in the index.

        Returns
        -------
        self

        Raises
        ------
        KeyError
            For a name that is not in the index.
        """
        check_is_fitted(self)
        ids = np.atleast_1d(np.asarray(ids))
        missing = ids[~np.isin(ids, self.ids_)]
        if len(missing):
            raise KeyError(f"no code of the index is named {missing[0]}")
        kept = ~np.isin(self.ids_, ids)
        if not kept.any():
            raise ValueError("ids name all codes of the index; an index cannot be empty")
        self._keep(self._state["codes"][kept], self.ids_[kept])
        return self._build()

    def kneighbors(self, X=None, n_neighbors=None, return_distance=True):
        """The nearest codes, the nearest first.

        Parameters
        ----------
        X : array of shape (n_queries, n_bits) or (n_queries, n_bytes), or None, default=None
            None asks for the neighbours of the codes in the index, each without itself.
        n_neighbors : int or None, default=None
            None takes the parameter.
        return_distance : bool, default=True
            Give distances too.

        Returns
        -------
        distances : array of shape (n_queries, n_neighbors)
            Bits that differ; inf where an approximate index finds no more.
        ids : array of shape (n_queries, n_neighbors)
            Their names; -1 where none was found.
        """
        distances, found = self._search(X, n_neighbors)
        ids = np.where(found >= 0, self.ids_[found], -1)
        return (distances, ids) if return_distance else ids

    def kneighbors_graph(self, X=None, n_neighbors=None, mode="connectivity"):
        """The nearest codes as a sparse matrix; a column is a code in the order in which it came.

        Parameters
        ----------
        X, n_neighbors
            As in `kneighbors`.
        mode : {"connectivity", "distance"}, default="connectivity"
            Entries 1, or distances.

        Returns
        -------
        scipy.sparse.csr_array of shape (n_queries, n)
        """
        distances, found = self._search(X, n_neighbors)
        if mode not in ("connectivity", "distance"):
            raise ValueError(f'mode must be "connectivity" or "distance", got {mode!r}')
        known = found >= 0
        values = np.ones(known.sum()) if mode == "connectivity" else distances[known]
        ends = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
        return csr_array((values, found[known], ends), shape=(len(found), len(self.ids_)))

    def radius_neighbors(self, X=None, radius=None, return_distance=True, sort_results=False):
        """All codes that differ in no more than so many bits, by comparing with all, whatever the index.

        Parameters
        ----------
        X
            As in `kneighbors`.
        radius : float or None, default=None
            None takes the parameter.
        return_distance : bool, default=True
            Give distances too.
        sort_results : bool, default=False
            The nearest first.

        Returns
        -------
        distances, ids : arrays of arrays, one a query
        """
        check_is_fitted(self)
        faiss = _faiss()
        radius = self.radius if radius is None else radius
        queries = self._state["codes"] if X is None else self._pack(X, reset=False)
        flat = faiss.IndexBinaryFlat(queries.shape[1] * 8)
        flat.add(np.ascontiguousarray(self._state["codes"]))
        ends, distances, found = flat.range_search(queries, int(np.floor(radius)) + 1)
        answer = np.empty(len(queries), dtype=object), np.empty(len(queries), dtype=object)
        for i, (start, end) in enumerate(zip(ends[:-1].astype(int), ends[1:].astype(int), strict=True)):
            near, rows = distances[start:end].astype(float), found[start:end]
            if X is None:
                near, rows = near[rows != i], rows[rows != i]
            order = np.lexsort((rows, near)) if sort_results else slice(None)
            answer[0][i], answer[1][i] = near[order], self.ids_[rows[order]]
        return answer if return_distance else answer[1]

    @property
    def ids_(self):
        return self._fitted("ids")

    @property
    def effort_(self):
        return self._fitted("effort")

    @property
    def recall_(self):
        return self._fitted("recall")

    def _fitted(self, name):
        try:
            return self._state[name]
        except (AttributeError, KeyError):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute '{name}_'") from None

    def _keep(self, codes, ids):
        self._state = {"codes": codes, "ids": ids, "effort": None, "recall": 1.0}

    def _pack(self, X, *, reset):
        """Codes as (n, bytes) uint8."""
        if not self.packed:
            X = validate_data(self, to_numpy(X), dtype=None, reset=reset)
            if X.dtype.kind not in "biuf":
                X = validate_data(self, X, dtype=np.float64, reset=reset)
            return np.packbits(X > 0, axis=1)
        codes = np.asarray(to_numpy(X))
        if codes.dtype != np.uint8 or codes.ndim != 2:
            raise ValueError(
                f"packed=True takes bytes, uint8 of shape (n, n_bytes), got {codes.dtype} of shape {codes.shape}"
            )
        return np.ascontiguousarray(validate_data(self, codes, dtype=np.uint8, reset=reset))

    def _search(self, X, n_neighbors):
        """Distances and rows of the index, -1 and inf where there are no more."""
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if not isinstance(k, Integral) or k < 1:
            raise ValueError(f"n_neighbors must be a positive integer, got {k!r}")
        codes = self._state["codes"]
        if X is None:
            return self._nearest_but_self(np.arange(len(codes)), k)
        queries = self._pack(X, reset=False)
        if k > len(codes):
            raise ValueError(f"n_neighbors={k} is more than the n_samples={len(codes)} codes of the index")
        return self._nearest(queries, k)

    def _nearest_but_self(self, rows, k):
        codes = self._state["codes"]
        if k > len(codes) - 1:
            raise ValueError(f"n_neighbors={k} is more than the {len(codes) - 1} other codes of the index")
        distances, found = self._nearest(np.ascontiguousarray(codes[rows]), k + 1)
        itself = found == rows[:, None]
        itself[~itself.any(axis=1), -1] = True  # of many equal codes it may not be among the first
        return distances[~itself].reshape(-1, k), found[~itself].reshape(-1, k)

    def _nearest(self, queries, k):
        if self.index == "exact":
            return _exactly(queries, self._state["codes"], k)
        index = self._searcher()
        _set_effort(index, self.index, self._state["effort"])
        distances, found = index.search(queries, k)
        return np.where(found >= 0, distances, np.inf), found

    def _searcher(self):
        """The faiss index; after loading it is read from its bytes."""
        if getattr(self, "_faiss_index", None) is None:
            self._faiss_index = _faiss().deserialize_index_binary(np.array(self._state["faiss_index"]))
        return self._faiss_index

    def _build(self):
        _faiss()
        self._faiss_index = None
        if self.index == "exact":
            return self
        codes = np.ascontiguousarray(self._state["codes"])
        self._faiss_index = self._new_index(codes)
        self._faiss_index.add(codes)
        self._state["effort"], self._state["recall"] = self._tune()
        if self.effort is None and self._state["recall"] < self.min_recall:
            warnings.warn(
                f"index={self.index!r} finds {self._state['recall']:.2f} of the neighbours at its largest effort, "
                f"below min_recall={self.min_recall}; use more hashes or lists, or another index",
                stacklevel=3,
            )
        return self

    def _new_index(self, codes):
        faiss = _faiss()
        n, n_bits = len(codes), codes.shape[1] * 8
        if self.index == "ivf":
            n_lists = min(self.n_lists or max(round(n**0.5), 1), n)
            quantizer = faiss.IndexBinaryFlat(n_bits)
            index = faiss.IndexBinaryIVF(quantizer, n_bits, n_lists)
            index.cp.min_points_per_centroid = 1  # few codes are no reason to complain
            quantizer.this.disown()
            index.own_fields = True  # or the clusters would go with this function
            index.train(codes)
            return index
        if self.index == "hnsw":
            return faiss.IndexBinaryHNSW(n_bits, self.n_links)
        part = min(max(int(np.log2(max(n, 2))), 4), n_bits, 32)
        n_hashes = self.n_hashes or max(n_bits // part, 1)
        return faiss.IndexBinaryMultiHash(n_bits, n_hashes, min(part, n_bits // n_hashes))

    def _tune(self):
        """The effort to search with, and the recall that it reaches on codes of the index."""
        codes = self._state["codes"]
        k = min(self.n_neighbors, len(codes) - 1)
        efforts = _EFFORTS[self.index][1] if self.effort is None else (self.effort,)
        if k < 1:
            return efforts[-1], 1.0
        rng = check_random_state(self.random_state)
        rows = rng.choice(len(codes), size=min(_SAMPLE, len(codes)), replace=False)
        queries = np.ascontiguousarray(codes[rows])
        farthest = _exactly(queries, codes, k + 1)[0][:, -1:]  # the code itself is the first
        for effort in efforts:
            self._state["effort"] = effort
            recall = float((self._nearest_but_self(rows, k)[0] <= farthest).mean())
            if recall >= self.min_recall:
                break
        return effort, recall

    def __getstate__(self):
        state = dict(super().__getstate__())
        if state.pop("_faiss_index", None) is not None:
            bytes_ = _faiss().serialize_index_binary(self._faiss_index)
            state["_state"] = {**self._state, "faiss_index": np.array(bytes_)}
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = False  # faiss answers in numpy
        return tags


def _exactly(queries, codes, k):
    distances, found = _faiss().knn_hamming(queries, np.ascontiguousarray(codes), k)
    return distances.astype(float), found


def _set_effort(index, kind, effort):
    if kind == "ivf":
        index.nprobe = max(min(effort, index.nlist), 1)
    elif kind == "hnsw":
        index.hnsw.efSearch = max(effort, 1)
    else:
        index.nflip = min(effort, index.b)


def _check_ids(ids, n, taken):
    if ids is None:
        start = 0 if len(taken) == 0 else int(taken.max()) + 1
        return np.arange(start, start + n, dtype=np.int64)
    ids = np.asarray(to_numpy(ids))
    if ids.shape != (n,) or ids.dtype.kind not in "iu":
        raise ValueError(f"ids must be {n} whole numbers, one a code, got {ids.dtype} of shape {ids.shape}")
    ids = ids.astype(np.int64)
    together = np.concatenate([taken, ids])
    values, counts = np.unique(together, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"ids must name each code once, but {values[counts > 1][0]} occurs twice")
    return ids


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise ImportError('HammingNeighbors needs faiss: pip install "sklinvariant[faiss]"') from error
    return faiss
