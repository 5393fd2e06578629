"""IndexedCodes: stored codes with their ids, and the index that searches them. `HammingNeighbors` is its interface."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklinvariant.base import (
    Array,
    ArrayKind,
    FittedState,
    Flag,
    Input,
    Maybe,
    Number,
    RealNumber,
    StreamedBytes,
    Text,
    TorchEstimator,
    Whole,
    accepts,
    faiss_threads,
    is_count,
    resolve_device,
)
from sklinvariant.neighbors._codes._approximate_search import APPROXIMATE
from sklinvariant.neighbors._codes._device_search import DeviceCodes
from sklinvariant.neighbors._codes._exact_search import codes_within, exact_neighbors
from sklinvariant.neighbors._codes._search_effort import first_wanted, least_effort, noisy_sample, warn_of_recall
from sklinvariant.neighbors._codes._stored_codes import GrowingRows, rows_of_ids

Radius = Annotated[float, Number(Real, 0, None, closed="both")]  # infinity finds all codes
_EFFORT = {"ivf": "n_probes", "hnsw": "ef_search", "multihash": "n_flips"}
_KNOBS = ("n_lists", "n_links", "ef_construction", "n_tables", "table_bits")  # parameters that build an index
_MOST_REMOVED = 0.2  # share of removed codes above which an approximate index is rebuilt


class IndexedCodes(TorchEstimator):
    """The fitted state of `HammingNeighbors`, and searches by row number in it.

    A row is the place of a code among all stored ones, including removed codes that an approximate index still holds.
    """

    _layout = {
        "codes": Array("n", "bytes of a code", kinds="u"),
        "ids": Maybe(Array("n", kinds="i")),
        "removed": Maybe(Array("n", kinds="b")),
        "own_ids": Maybe(Flag()),
        "next_id": Whole(0),
        "kind": Text("exact", *_EFFORT),
        "index": Maybe(Array(None, kinds="u")),
        "effort": Maybe(Whole(0, 1 << 30)),
        "recall": RealNumber(),
        "n_built": Whole(0),
        "n_measured": Maybe(Whole(0)),
    }

    recall_ = FittedState()

    @property
    def codes_(self) -> np.ndarray:
        return self._stored("codes")

    @property
    def ids_(self) -> np.ndarray:
        if self._fitted("ids") is not None:
            return self._stored("ids")
        n, removed = len(self._state["codes"]), self._state["removed"]
        return np.arange(n) if removed is None else np.flatnonzero(~removed)

    @property
    def n_samples_fit_(self) -> int:
        return len(self._fitted("codes")) - self._n_removed()

    @property
    def centers_(self) -> np.ndarray:
        if self._fitted("kind") != "ivf" or len(self._state["codes"]) == 0:
            raise AttributeError(f"index={self._state['kind']!r} has no centers_. Fit codes with index='ivf'.")
        return self._live_index().centers

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
        return self._state_with_index(lambda live: live.to_bytes())

    def _state_for_file(self):
        return self._state_with_index(lambda live: StreamedBytes(live.write))

    def _state_with_index(self, convert):
        state = dict(super().__getstate__())
        for name in ("_growing", "_counted", "_placed"):
            state.pop(name, None)
        live = state.pop("_live", None)
        if live is not None:
            state["_state"] = {**state["_state"], "index": convert(live)}
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

    def _n_removed(self):
        removed = self._state["removed"]
        if removed is None:
            return 0
        counted, n = getattr(self, "_counted", (None, 0))
        if counted is not removed:  # counting 100 million takes longer than a search
            n = int(np.count_nonzero(removed))
            self._counted = removed, n
        return n

    def _ids_of(self, rows):
        return rows if self._state["ids"] is None else self._state["ids"][rows]

    def _has_own_ids(self):
        """Whether ids were given. Otherwise they are numbers counted from 0, of which removed codes leave gaps."""
        own = self._state.get("own_ids")
        return self._state["ids"] is not None if own is None else own

    def _rows_of(self, ids):
        """The rows of those ids that are stored."""
        state = self._state
        return rows_of_ids(ids, state["ids"], state["removed"], len(state["codes"]))

    def _check_queries(self, X):
        """The `Input` of packed queries, the queries, and the rows to exclude; None stands for the stored codes."""
        if X is not None:
            given = self._read(X)
            return given, given.data, None
        removed, n = self._state["removed"], len(self._state["codes"])
        itself = np.arange(n) if removed is None else np.flatnonzero(~removed)
        codes = self.codes_
        return Input(codes, ArrayKind(None), torch.device("cpu"), torch.uint8), codes, itself

    def _search_device(self):
        """The device on which queries are compared with all codes; None if faiss does it on the CPU."""
        device = resolve_device(self.device)
        return None if device.type == "cpu" else device

    def _exact(self, queries, k, itself):
        codes, removed, device = self._state["codes"], self._state["removed"], self._search_device()
        k_found = k + (itself is not None)
        if device is None:
            with faiss_threads(self.n_jobs):
                found = exact_neighbors(queries, codes, k_found, removed)
        else:
            placed = DeviceCodes.of(codes, device, getattr(self, "_placed", None))
            self._placed: DeviceCodes | None = placed
            found = placed.neighbors(queries, k_found, removed)
        return found if itself is None else first_wanted(*found, found[1] != itself[:, None], k)

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
        removed, n = self._state["removed"], len(self._state["codes"])
        spare = math.ceil(2 * k * self._n_removed() / n)
        distances, rows = live.search(queries, min(k + (itself is not None) + spare, len(live)), effort)
        if rows.max(initial=-1) >= n or rows.min(initial=0) < -1:
            raise self._damaged("it refers to codes that are not stored")
        wanted = rows >= 0
        if removed is not None:
            wanted &= ~removed[rows]
        if itself is not None:
            wanted &= rows != itself[:, None]
        return distances, rows, wanted

    def _within(self, queries, radius, itself):
        """The query, distance and row of each code within the radius of a query, also of those to exclude."""
        radius = self.radius if radius is None else radius
        if not accepts(Radius, radius):
            raise ValueError(f"radius={radius!r} is not valid. Pass a number of bits of at least 0, or infinity.")
        state = self._state
        with faiss_threads(self.n_jobs):
            limits, distances, rows = codes_within(
                queries, state["codes"], min(radius, 8 * queries.shape[1]), state["removed"]
            )
        return np.repeat(np.arange(len(queries)), np.diff(limits)), distances, rows

    def _columns_of(self, rows):
        """The places of rows among the codes that have not been removed."""
        removed = self._state["removed"]
        return rows if removed is None else (np.cumsum(~removed) - 1)[rows]

    def _build(self):
        """Build the approximate index of the stored codes, and find the required effort."""
        state = self._state
        state.update(effort=None, recall=1.0, index=None, n_built=len(state["codes"]))
        self._live = None
        if state["kind"] == "exact" or len(state["codes"]) == 0:
            return
        with faiss_threads(self.n_jobs):
            seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
            self._live = APPROXIMATE[state["kind"]].build(state["codes"], seed, **self._knobs())
            self._find_effort()

    def _knobs(self):
        knobs = {name: getattr(self, name) for name in _KNOBS}
        return {**knobs, "centers": self._checked_centers()}

    def _checked_centers(self):
        if self.centers is None:
            return None
        centers, width = np.asarray(self.centers), self._state["codes"].shape[1]
        if centers.dtype != np.uint8 or centers.ndim != 2 or centers.shape[1] != width or len(centers) == 0:
            raise ValueError(
                f"centers has dtype {centers.dtype} and shape {centers.shape}, but uint8 of shape (n_lists, {width}) "
                "is required. Pass the centers_ of an index that was fitted on codes of the same length."
            )
        return np.ascontiguousarray(centers)

    def _extended(self, name, rows, added):
        """An array of the fitted state, followed by added rows."""
        growing = self.__dict__.setdefault("_growing", {})
        return growing.setdefault(name, GrowingRows()).extended(rows, added)

    def _with_added(self, codes, ids, next_id, own_ids):
        """The state with more codes. ``ids`` None continues after the largest id."""
        state = {**self._state, "own_ids": self._has_own_ids() or own_ids}
        n, first = len(state["codes"]), state["next_id"]
        if ids is not None or state["ids"] is not None or first != n:
            before = np.arange(n) if state["ids"] is None else state["ids"]
            added_ids = np.arange(first, first + len(codes)) if ids is None else ids
            state["ids"] = self._extended("ids", before, added_ids)
        state["next_id"] = max(next_id, first)
        state["codes"] = self._extended("codes", state["codes"], codes)
        if state["removed"] is not None:
            state["removed"] = np.concatenate([state["removed"], np.zeros(len(codes), dtype=bool)])
        return state

    def _add(self, state, extend):
        """Take the new state, which has more codes, and call ``extend`` with the index to add them."""
        live, before = self._live_index(), self._state
        self._state = state
        try:
            if live is None or live.outgrown(len(state["codes"]), before["n_built"], **self._knobs()):
                self._build()
                return
            with faiss_threads(self.n_jobs):
                extend(live)
                state["index"] = None
                if len(state["codes"]) > 2 * state["n_measured"]:
                    self._find_effort()
        except BaseException:
            self._state = before
            raise

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
                raise self._damaged(error) from error
        n = len(state["codes"])
        if live is None or (len(live) != n and not live.cut(n)):  # a search or an addition was interrupted
            self._build()
        return self._live

    def _damaged(self, reason):
        return ValueError(
            f"the index {self._state['kind']!r} of this {type(self).__name__} is damaged ({reason}). Load it from an "
            "intact file, or fit it again on its codes_."
        )

    def _find_effort(self):
        """Raise the effort until the share ``recall`` of the neighbours of a sample of stored codes is found."""
        state = self._state
        live: Any = self._live
        k, removed = min(self.n_neighbors, self.n_samples_fit_ - 1), state["removed"]
        state["n_measured"] = len(state["codes"])
        kept = None if removed is None else np.flatnonzero(~removed)
        sample = noisy_sample(state["codes"], kept, self.random_state)
        exact_distances = exact_neighbors(sample, state["codes"], k + 1, removed)[0] if k > 0 else None

        def candidates(effort):
            distances, _, wanted = self._candidates(live, sample, k + 1, None, effort)
            return distances, wanted

        given = getattr(self, _EFFORT[state["kind"]])
        efforts: Sequence[int] = live.efforts() if given is None else [given]
        effort, share, enough = least_effort(candidates, exact_distances, efforts, self.recall)
        state.update(effort=effort, recall=share)
        if not enough and given is None and share < self.recall:
            warn_of_recall(state["kind"], share, k, self.recall)
