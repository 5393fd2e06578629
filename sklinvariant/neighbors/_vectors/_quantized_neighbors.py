"""QuantizedNeighbors: search among vectors that are stored with a few bits for each feature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
from sklearn.utils import check_random_state

from sklinvariant._compat import fit_context
from sklinvariant.base import (
    Array,
    Count,
    Maybe,
    NJobs,
    RandomState,
    RealNumber,
    RowReader,
    Text,
    Whole,
    as_numpy,
    declared,
    faiss_threads,
    import_faiss,
    integers,
)
from sklinvariant.neighbors._codes._exact_search import in_parts, nearest_of
from sklinvariant.neighbors._codes._indexed_codes import Radius
from sklinvariant.neighbors._codes._stored_codes import GrowingRows, check_ids
from sklinvariant.neighbors._similarities import unit_rows
from sklinvariant.neighbors._vectors._vector_neighbors import VectorNeighbors, beyond_square
from sklinvariant.neighbors._vectors._vector_store import blocks_of_rows
from sklinvariant.ops import power_of_two

_LARGEST_PREPARED = 2.0**50  # in the unit of the rows of the fit: squares of larger numbers could overflow
_LARGEST_FITTED = 2.0**40
_FAR = 10  # times the median of the largest differences from the median row
_SAMPLED_ROWS = 5000
_QUERY_BITS = 8  # 4 lose a point of recall at n_bits=1; a search with exact queries takes 200 times as long
# sizes of the parts passed to faiss, because Ctrl-C has no effect during a call
_ENCODED = 1 << 9
_SEARCHED = 1 << 5
_BLOCK_BYTES = 1 << 26


@declared
class QuantizedNeighbors(VectorNeighbors):
    """Nearest neighbours among real vectors that are stored with a few bits for each feature (RaBitQ).

    Vectors are centred, rotated at random, and rounded to ``n_bits`` per feature; faiss estimates the distances of a
    query from all of them without decoding. No other vectors are kept, and nothing is learned but the mean.

    Parameters
    ----------
    n_bits : int
        Bits for each feature, from 1 to 8. With 1, a vector of d features takes d / 8 + 8 bytes, with b > 1 about
        d · b / 8 + 20. Raising it finds more of the true neighbours; `fit` and searches take longer.
    metric : {"euclidean", "cosine"}
        The distance. "cosine" is 1 minus the cosine of the angle, as in scikit-learn.
    n_jobs : int or None
        Number of threads of faiss. None keeps faiss's own setting, which is one per core, as with -1.
    random_state : int, RandomState or None
        Seeds the rotation.

    Attributes
    ----------
    codes_ : uint8 ndarray of shape (n_samples, n_bytes)
        The stored vectors, in the format of faiss.

    Notes
    -----
    Distances are estimates (float64). All rows share one centre, the mean of the rows of the fit without those that are
    far from all others. Neighbours are told apart less precisely the farther they lie from it, so recall is lower in
    groups far from each other, and for rows of `partial_fit` that have moved; fit again with all rows if the data
    shift. To rank candidates by the vectors themselves, use `EmbeddingNeighbors`, which can keep them in a file. For
    fewer bytes than 1 bit for each feature takes, reduce the features with `sklearn.decomposition.PCA`.

    References
    ----------
    Gao, Long (2024). RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate nearest
    neighbor search. Gao et al. (2025). Practical and asymptotically optimal quantization of high-dimensional vectors in
    Euclidean space for approximate nearest neighbor search (more than 1 bit).

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import QuantizedNeighbors
    >>> X = np.random.default_rng(0).normal(size=(500, 128)).astype(np.float32)
    >>> search = QuantizedNeighbors(3, n_bits=4, random_state=0).fit(X)
    >>> search.kneighbors(X[:2] + 0.01, n_neighbors=1, return_distance=False)
    array([[0],
           [1]])
    >>> search.codes_.nbytes / X.nbytes
    0.1640625
    """

    _layout = {
        "codes": Array("n", "bytes of a code", kinds="u"),
        "ids": Maybe(Array("n", kinds="i")),
        "next_id": Whole(0),
        "n": Whole(0),
        "offset": Array("n_features_in_"),
        "unit": RealNumber(),
        "rotation": Array("n_features_in_", "n_features_in_"),
        "center": Array("n_features_in_"),
        "n_bits": Whole(1, 8),
        "metric": Text("euclidean", "cosine"),
    }
    _reader = RowReader()

    n_neighbors: Count = 5
    _: KW_ONLY
    radius: Radius = 1.0
    n_bits: Annotated[int, integers(1, 8)] = 4
    metric: Literal["euclidean", "cosine"] = "euclidean"
    n_jobs: NJobs = None
    random_state: RandomState = None

    @property
    def codes_(self) -> np.ndarray:
        self._check_fitted()
        return self._state["codes"]

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, ids: Any = None) -> Self:
        """Store vectors, and discard those stored before.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Vectors. They may be memory-mapped.

        Raises
        ------
        ImportError
            If faiss is not installed, or is too old.
        """
        given = self._read(X, reset=True)
        rows = as_numpy(given.data)
        ids, next_id = check_ids(ids, len(rows), 0)
        self._state = {
            **self._preparation(rows),
            "n": len(rows),
            "ids": ids,
            "next_id": next_id,
            "n_bits": self.n_bits,
            "metric": self.metric,
            "namespace": given.kind.name,
        }
        self._state["codes"] = self._encoded(rows)
        self._growing = GrowingRows()
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_growing", None)
        return state

    def _check_layout(self):
        state = self._state
        codes, expected = state["codes"], (state["n"], self._faiss_index().code_size)
        if codes.dtype != np.uint8 or codes.shape != expected:
            raise ValueError(f"codes should be of uint8 with shape {expected}, got {codes.dtype} of {codes.shape}")
        if state["ids"] is not None and len(state["ids"]) != state["n"]:
            raise ValueError(f"ids should have {state['n']} rows, got {len(state['ids'])}")

    def _preparation(self, rows):
        """What `_prepared` and faiss need: a centre and a unit of the rows, a random rotation, the rotated centre."""
        d = rows.shape[1]
        rotation = np.linalg.qr(check_random_state(self.random_state).normal(size=(d, d)))[0].astype(np.float32)
        if self.metric == "cosine":  # lengths are 1, and zero is not moved
            blocks = (unit_rows(block, "X").sum(axis=0, dtype=np.float64) for block in blocks_of_rows(rows))
            center = (sum(blocks) / len(rows)).astype(np.float32) @ rotation
            return {"offset": np.zeros(d), "unit": 1.0, "rotation": rotation, "center": center}
        offset, unit = _center_and_unit(rows)
        return {"offset": offset, "unit": unit, "rotation": rotation, "center": np.zeros(d, dtype=np.float32)}

    def _prepared(self, rows):
        """Rows in float32, centred and in the unit, or scaled to length 1, and rotated."""
        state = self._state
        if state["metric"] == "cosine":
            return unit_rows(rows, "X").astype(np.float32) @ state["rotation"]
        numbers = (rows - state["offset"]) / state["unit"]
        if np.abs(numbers).max() > _LARGEST_PREPARED:
            raise ValueError(
                f"X contains numbers up to {np.abs(rows).max():.3g}, which are too large in the unit of the rows of "
                "the fit. Fit again with all rows."
            )
        return numbers.astype(np.float32) @ state["rotation"]

    def _faiss_index(self):
        """An index of faiss without vectors."""
        faiss, state = import_faiss(type(self).__name__), self._state
        metric = faiss.METRIC_INNER_PRODUCT if state["metric"] == "cosine" else faiss.METRIC_L2
        try:
            index = faiss.IndexRaBitQ(self.n_features_in_, metric, state["n_bits"])
        except (AttributeError, TypeError) as error:
            raise ImportError(
                f"{type(self).__name__} requires codes of several bits (RaBitQ), which faiss {faiss.__version__} does "
                "not have: pip install --upgrade faiss-cpu"
            ) from error
        index.qb = _QUERY_BITS
        index.train(state["center"][None])
        return index

    def _encoded(self, rows):
        index = self._faiss_index()
        codes, start = np.empty((len(rows), index.code_size), dtype=np.uint8), 0
        with faiss_threads(self.n_jobs):
            for block in blocks_of_rows(rows):
                prepared = self._prepared(block)
                for first in range(0, len(prepared), _ENCODED):
                    part = index.sa_encode(np.ascontiguousarray(prepared[first : first + _ENCODED]))
                    codes[start : start + len(part)] = part
                    start += len(part)
        return codes

    def _append(self, rows, state):
        growing = self.__dict__.setdefault("_growing", GrowingRows())
        state["codes"] = growing.extended(state["codes"], self._encoded(rows))

    def _keep(self, rows, state):
        state["codes"] = state["codes"][rows]

    def _check_queries(self, X):
        if X is None:
            raise ValueError("X is None, but the vectors themselves are not stored. Pass vectors of queries.")
        given = self._read(X)
        return given, as_numpy(given.data), None

    def _nearest(self, queries, k, itself):
        """Distances and rows of the k nearest vectors, found by comparison with all codes block by block."""
        queries = self._for_faiss(queries, itself)
        best: list[tuple[np.ndarray, np.ndarray]] = []
        with faiss_threads(self.n_jobs):
            for first, index in self._indexes_of_blocks():
                search = lambda part, index=index: self._search(index, part, min(k, index.ntotal))  # noqa: E731
                distances, rows = in_parts(search, queries, _SEARCHED)
                best = [nearest_of([*best, (distances, rows + first)], k)]
        return best[0]

    def _within(self, queries, radius, itself):
        with faiss_threads(self.n_jobs):
            return super()._within(queries, radius, itself)

    def _indexes_of_blocks(self) -> Iterator[tuple[int, Any]]:
        codes = self._state["codes"]
        step = max(1, _BLOCK_BYTES // codes.shape[1])
        for first in range(0, len(codes), step):
            index = self._faiss_index()
            index.add_sa_codes(np.ascontiguousarray(codes[first : first + step]))
            yield first, index

    def _for_faiss(self, queries, itself):
        return self._prepared(queries)

    def _search(self, index, queries, k):
        values, rows = index.search(queries, k)
        return self._from_faiss(values), rows

    def _from_faiss(self, values):
        if self._state["metric"] == "cosine":
            return np.clip(1 - values.astype(np.float64), 0, 2)
        return np.sqrt(np.maximum(values, 0), dtype=np.float64) * self._state["unit"]

    def _to_faiss(self, distance):
        if self._state["metric"] == "cosine":
            return float(np.nextafter(np.float32(1 - distance), np.float32(-np.inf))) if distance < 2 else -np.inf
        return beyond_square(distance / self._state["unit"])


def _center_and_unit(rows):
    """The mean of a sample of the rows (n, d) without those that are far from the others, and a unit of all."""
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLED_ROWS)).astype(np.intp)].astype(np.float64)
    middle = np.quantile(sample, 0.5, axis=0, method="lower")
    reach = np.abs(sample - middle).max(axis=1)
    typical = np.median(reach)
    center = sample[reach <= _FAR * typical].mean(axis=0)
    largest = max(float(np.abs(block - center).max()) for block in blocks_of_rows(rows))
    return center, power_of_two(max(typical, largest / _LARGEST_FITTED))
