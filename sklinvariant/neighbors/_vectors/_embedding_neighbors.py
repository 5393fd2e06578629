"""EmbeddingNeighbors: find candidates by binary codes, and rank them by the vectors themselves."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from sklinvariant._compat import HasMethods, fit_context
from sklinvariant.base import (
    Array,
    ArrayKind,
    Count,
    Input,
    Maybe,
    RandomState,
    RealNumber,
    RowReader,
    Text,
    Whole,
    as_numpy,
    declared,
    import_faiss,
)
from sklinvariant.hashing import ITQHasher
from sklinvariant.neighbors._codes._code_reader import pack_bits
from sklinvariant.neighbors._codes._exact_search import nearest_of
from sklinvariant.neighbors._codes._hamming_neighbors import HammingNeighbors
from sklinvariant.neighbors._codes._indexed_codes import Radius
from sklinvariant.neighbors._codes._stored_codes import GrowingRows, check_ids
from sklinvariant.neighbors._vectors._asymmetric import asymmetric_distances
from sklinvariant.neighbors._vectors._vector_neighbors import VectorNeighbors, beyond_square
from sklinvariant.neighbors._vectors._vector_store import (
    Precision,
    append_rows,
    blocks_of_rows,
    check_replaceable,
    digest_of,
    keep_rows,
    open_rows,
    write_rows,
)

_DEFAULT_BITS = 256
_AT_ONCE = 64  # queries


@declared
class EmbeddingNeighbors(VectorNeighbors):
    """Nearest neighbours among real vectors, found by binary codes and ranked by the vectors.

    A search has up to three steps. (1) `HammingNeighbors` finds the ``n_candidates`` codes nearest to that of the
    query. (2) If ``asymmetric`` is set, candidates are ranked by the sum of the query's absolute projections over the
    bits that differ. (3) Unless ``rescore`` is None, the vectors of the best candidates are read and ranked by
    Euclidean distance. Only the codes need memory: vectors can stay in a file.

    Parameters
    ----------
    hasher : hasher or None
        Computes the codes. It needs ``fit`` and ``decision_function``, whose signs are the bits. A clone is fitted.
        None takes `ITQHasher` with 256 bits, or with one bit per feature if there are fewer features.
    index : HammingNeighbors or None
        Searches the codes. A clone is fitted, with ``n_candidates`` as its ``n_neighbors``. None compares a query with
        all codes; for tens of millions, pass ``HammingNeighbors(index="ivf")``.
    n_candidates : int
        Number of nearest codes that are considered. Raising it finds more of the true neighbours, but is slower.
    asymmetric : bool
        Rank candidates by the projections of the query before their vectors are read. This takes no memory beyond the
        codes.
    n_rescored : int or None
        Number of candidates whose vectors are read, the best so far. None reads those of all candidates.
    rescore : {"float32", "float16", "int8"} or None
        The precision of the stored vectors: 4, 2 or 1 bytes per feature. None stores no vectors. "int8" clips values
        beyond the 0.1 % and 99.9 % quantiles of a feature (of at most 5000 rows). Below 1000 rows nothing is clipped,
        and one very large value takes the precision of the others. "float16" loses its precision only beside values
        that are about 1e12 times as large.
    vectors : str, path-like or None
        A ``.npy`` file for the vectors, which searches memory-map. None keeps them in memory. `fit` replaces a file
        that an EmbeddingNeighbors has written, and no other. An array or data frame that is memory-mapped from this
        file is refused, but a tensor is not, and its file is replaced. Give each estimator its own file: if another fit
        has replaced it, searches raise a ValueError.
    subsample : int or None
        Largest number of rows to which `fit` fits the hasher, chosen at random; None takes all.
    random_state : int, RandomState or None
        Seeds this choice, and the default hasher.

    Attributes
    ----------
    hasher_ : hasher
        The fitted hasher.
    index_ : HammingNeighbors
        The fitted index of the codes, whose ids are row numbers.

    See Also
    --------
    HammingNeighbors : Searches codes.

    Notes
    -----
    Distances are those by which the last step ranks: Euclidean (float64), asymmetric (float32) or numbers of bits
    (int32). `radius_neighbors` compares a query with all stored vectors, by Euclidean distance.

    For cosine similarity, pass rows of length 1 (`sklearn.preprocessing.Normalizer`): Euclidean distance ranks them in
    the same way.

    A saved estimator does not contain the file ``vectors``, of which it keeps the path as given: keep both, and if the
    file moves, or the path was relative and the working folder changes, call ``set_params(vectors=...)``. `remove` and
    `partial_fit` write to the file at once. After `remove`, an estimator that was saved before no longer fits it: save
    it again.

    References
    ----------
    Gordo, Perronnin, Gong, Lazebnik (2014). Asymmetric distances for binary embeddings.

    Jégou, Tavenard, Douze, Amsaleg (2011). Searching in one billion vectors: re-rank with source coding.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import EmbeddingNeighbors
    >>> X = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    >>> search = EmbeddingNeighbors(3, n_candidates=200, random_state=0).fit(X)
    >>> distances, ids = search.kneighbors(X[:2] + 0.01)
    >>> ids[:, 0].tolist()
    [0, 1]
    """

    _layout = {
        "vectors": Maybe(Array("n", "n_features_in_", kinds="fi")),
        "offset": Maybe(Array("n_features_in_")),
        "step": Maybe(Array("n_features_in_")),
        "unit": Maybe(RealNumber()),
        "ids": Maybe(Array("n", kinds="i")),
        "next_id": Whole(0),
        "n": Whole(0),
        "dtype": Maybe(Text("float32", "float16", "int8")),
        "digest": Maybe(Text()),
    }
    _reader = RowReader()

    n_neighbors: Count = 5
    _: KW_ONLY
    radius: Radius = 1.0
    hasher: Annotated[Any, HasMethods(["fit", "decision_function"])] | None = None
    index: HammingNeighbors | None = None
    n_candidates: Count = 1000
    asymmetric: bool = False
    n_rescored: Count | None = None
    rescore: Literal["float32", "float16", "int8"] | None = "float16"
    vectors: str | os.PathLike | None = None
    subsample: Count | None = 100_000
    random_state: RandomState = None

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Fit the hasher, and store codes and vectors. Those stored before are discarded.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Vectors, which may be memory-mapped.

        Raises
        ------
        ImportError
            If faiss is not installed.
        FileExistsError
            If ``vectors`` is a file that no EmbeddingNeighbors has written.
        ValueError
            If X is not valid, or is memory-mapped from the file ``vectors``.
        """
        import_faiss(type(self).__name__)
        if self.vectors is not None and self.rescore is not None:
            check_replaceable(self.vectors, X)
        given = self._read(X, reset=True)
        rows = as_numpy(given.data)
        ids, next_id = check_ids(ids, len(rows), 0)
        self.hasher_ = self._new_hasher(rows.shape[1]).fit(self._sample(rows), None)  # FrozenEstimator requires y
        index = HammingNeighbors() if self.index is None else clone(self.index)
        settings = {"packed": True, "n_neighbors": self.n_candidates}  # an approximate index must find all candidates
        self.index_ = index.set_params(**settings).fit(self._codes(rows))
        state = {"n": len(rows), "ids": ids, "next_id": next_id, "vectors": None}
        self._state = {**state, "dtype": self.rescore, "namespace": given.kind.name}
        self._growing = GrowingRows()
        self._mapped: dict[Any, np.ndarray] = {}
        if self.rescore is not None:
            self._store(rows)
        return self

    def estimate_recall(self, X: Any, n_neighbors: int | None = None) -> float:
        """Share of the nearest stored vectors that `kneighbors` finds for given queries.

        It compares the candidates with a search among all vectors as they are stored, in the precision ``rescore``.
        What rounding changes is not measured.

        Parameters
        ----------
        X : array of shape (n_queries, n_features) or None
            Queries. A few hundred suffice; they are also compared with all stored vectors. None takes the stored ones,
            each excluding itself.

        Returns
        -------
        float
            The recall, between 0 and 1.
        """
        _, queries, itself = self._check_queries(X)
        k = self._check_k(n_neighbors, itself)
        found, true = self._nearest(queries, k, itself)[1], self._exact(queries, k, itself)
        return float(np.mean([np.isin(true_rows, rows).mean() for true_rows, rows in zip(true, found, strict=True)]))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        for name in ("_growing", "_mapped"):  # a mapped file would be copied
            state.pop(name, None)
        return state

    def _check_layout(self):
        state = self._state
        if not isinstance(self.index_, HammingNeighbors) or self.index_.n_samples_fit_ != state["n"]:
            raise ValueError(f"index_ should be a HammingNeighbors of {state['n']} codes")
        for name, array in (("vectors", state["vectors"]), ("ids", state["ids"])):
            if array is not None and len(array) != state["n"]:
                raise ValueError(f"{name} should have {state['n']} rows, got {len(array)}")

    def _new_hasher(self, d):
        if self.hasher is None:
            return ITQHasher(min(_DEFAULT_BITS, d), random_state=self.random_state)
        return clone(self.hasher)

    def _sample(self, rows):
        """Rows to which the hasher is fitted."""
        if self.subsample is None or len(rows) <= self.subsample:
            return rows
        rng = check_random_state(self.random_state)
        return rows[np.sort(sample_without_replacement(len(rows), self.subsample, random_state=rng))]

    def _codes(self, rows):
        """Packed codes of rows, block by block."""
        for block in blocks_of_rows(rows):
            yield pack_bits(self._projections(block), 0)

    def _projections(self, rows):
        return np.asarray(self.hasher_.decision_function(rows)).reshape(len(rows), -1)

    def _store(self, rows):
        """Store the vectors, in the state or in the file."""
        precision = Precision.of(self._state["dtype"], rows)
        self._state.update(offset=precision.offset, step=precision.step, unit=precision.unit)
        if self.vectors is not None:
            write_rows(self.vectors, rows, precision)
            self._state["digest"] = self._digest(len(rows))
        else:
            self._state["vectors"] = np.concatenate([precision.encode(block) for block in blocks_of_rows(rows)])

    def _append(self, rows, state):
        if state["dtype"] is not None and state["vectors"] is None:
            append_rows(self._path(), state["n"], rows, self._precision(), state.get("digest"))
            state["digest"] = self._digest(state["n"] + len(rows))
        elif state["dtype"] is not None:
            state["vectors"] = self._growing_rows().extended(state["vectors"], self._precision().encode(rows))
        self.index_.partial_fit(np.concatenate(list(self._codes(rows))))
        self._mapped = {}

    def _keep(self, rows, state):
        index = clone(self.index_).fit(self.index_.codes_[rows])
        if state["vectors"] is not None:
            state["vectors"] = state["vectors"][rows]
        elif state["dtype"] is not None:
            keep_rows(self._path(), self._stored(), rows)
            state["digest"] = self._digest(len(rows))
        self.index_, self._mapped = index, {}

    def _digest(self, n):
        """The digest of the first n rows of the file."""
        return digest_of(open_rows(self._path(), n, self.n_features_in_, np.dtype(self._state["dtype"])))

    def _growing_rows(self):
        return self.__dict__.setdefault("_growing", GrowingRows())

    def _precision(self):
        state = self._state
        if state["dtype"] is None:
            raise ValueError("no vectors are stored. Fit with rescore='float32', 'float16' or 'int8'.")
        return Precision(state["dtype"], state["offset"], state["step"], state["unit"])

    def _path(self):
        if self.vectors is None:
            raise ValueError(
                "vectors=None, but the vectors were stored in a file. Call set_params(vectors=...) with its path."
            )
        return self.vectors

    def _stored(self):
        """The stored vectors, from the state or mapped from the file."""
        state, dtype = self._state, self._precision().dtype
        if state["vectors"] is not None:
            return state["vectors"]
        path = self._path()
        if getattr(self, "_mapped", {}).keys() != {path}:
            self._mapped = {path: open_rows(path, state["n"], self.n_features_in_, dtype, state.get("digest"))}
        return self._mapped[path]

    def _check_queries(self, X):
        """If X is None, the rows are the stored numbers, which `_search` decodes a few at a time."""
        if X is not None:
            given = self._read(X)
            return given, as_numpy(given.data), None
        stored = self._stored()
        return Input(stored, ArrayKind(None), torch.device("cpu"), torch.float64), stored, np.arange(len(stored))

    def _nearest(self, queries, k, itself):
        starts = range(0, len(queries), _AT_ONCE)
        parts = [slice(start, start + _AT_ONCE) for start in starts]
        found = [self._search(queries[part], k, None if itself is None else itself[part]) for part in parts]
        distances, rows = (np.concatenate(values) for values in zip(*found, strict=True))
        return distances, rows

    def _search(self, queries, k, itself):
        if itself is not None:
            queries = self._precision().decode(queries)
        m = min(max(k, self.n_candidates), self.n_samples_fit_ - (itself is not None))
        projections = self._projections(queries)
        distances, rows = self.index_._nearest(pack_bits(projections, 0), m, itself)
        ranked = [self._ranked(*one, k) for one in zip(queries, projections, distances, rows, strict=True)]
        distances, rows = (np.stack(values) for values in zip(*ranked, strict=True))
        return distances, rows

    def _ranked(self, query, projections, distances, rows, k):
        """The best k candidates of a query."""
        if self.asymmetric:
            distances = asymmetric_distances(projections, self.index_.codes_[rows])
        if self.rescore is None:
            return _best(distances, rows, k)
        m = len(rows) if self.n_rescored is None else max(k, self.n_rescored)
        rows = np.sort(_best(distances, rows, m)[1])  # a file is read in order
        stored = self._stored()[rows]
        return _best(self._precision().distances(query, stored), rows, k)

    def _exact(self, queries, k, itself):
        """Rows of the k nearest stored vectors, excluding the rows ``itself``, by comparison with all of them."""
        queries, m = self._for_faiss(queries, itself), k + (itself is not None)
        results: list[tuple[np.ndarray, np.ndarray]] = []
        for first, index in self._indexes_of_blocks():
            distances, rows = index.search(queries, min(m, index.ntotal))
            results = [nearest_of([*results, (distances, rows + first)], m)]
        rows = results[0][1]
        return rows if itself is None else _without(rows, itself)

    def _indexes_of_blocks(self):
        faiss, precision, first = import_faiss(), self._precision(), 0
        for block in blocks_of_rows(self._stored()):
            index = faiss.IndexFlatL2(self.n_features_in_)
            index.add(precision.in_unit(block))
            yield first, index
            first += len(block)

    def _for_faiss(self, queries, itself):
        precision = self._precision()
        return precision.centred(queries) if itself is None else precision.in_unit(queries)

    def _to_faiss(self, distance):
        return beyond_square(distance / self._precision().unit)

    def _from_faiss(self, values):
        return np.sqrt(values, dtype=np.float64) * self._precision().unit


def _without(rows, itself):
    """Each row of numbers (n, m) without the number ``itself`` (n,), or without the last one: (n, m - 1)."""
    dropped = rows == itself[:, None]
    dropped[:, -1] |= ~dropped.any(axis=1)
    return rows[~dropped].reshape(len(rows), -1)


def _best(distances, rows, k):
    """The k candidates with the smallest distances, in order."""
    order = np.argsort(distances, kind="stable")[:k]
    return distances[order], rows[order]
