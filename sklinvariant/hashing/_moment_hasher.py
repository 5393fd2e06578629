"""The base of the hashers that learn from means, products and a sample of rows, also of rows that arrive in parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from sklinvariant._compat import fit_context, reports_fit
from sklinvariant.accumulate import Blocks, Moments, RowSample, measure_moments
from sklinvariant.base import (
    Anything,
    Array,
    Check,
    Fields,
    Maybe,
    Whole,
    as_numpy,
    declared,
    is_stream,
    torch_generator,
)
from sklinvariant.hashing._hasher import Hasher, warn_of_constant
from sklinvariant.ops import float64_device

SAMPLE_SIZE = 4000  # rows that are kept for what cannot be learned from moments; codes are as good as those of all rows


def held_layout(*products: str, rows: bool = False) -> Check:
    """The layout of what `partial_fit` keeps: products with these axes, and a sample of the rows."""
    features = Array("n_features_in_")
    return Maybe(
        Fields(
            seed=Whole(0),
            n_rows=Whole(),
            mean=features,
            low=features,
            high=features,
            products=Array(*products) if products else Maybe(Anything()),
            rows=Array("n_held", "n_features_in_") if rows else Maybe(Anything()),
            keys=Array("n_held") if rows else Maybe(Anything()),
        )
    )


@dataclass(frozen=True)
class Held:
    """What is kept of the rows of several calls: their moments, the seed, and a sample or None."""

    seed: int
    moments: Moments
    sample: RowSample | None

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> Held:
        """What is kept in a fitted state."""
        sample = None
        if state["rows"] is not None:
            sample = RowSample(state["rows"], state["keys"], state["n_rows"], SAMPLE_SIZE, state["seed"])
        return cls(state["seed"], Moments.from_state(state, device), sample)

    def to_state(self) -> dict[str, Any]:
        """Numpy arrays and plain values."""
        return {
            "seed": self.seed,
            **self.moments.to_state(),
            "rows": None if self.sample is None else self.sample.rows,
            "keys": None if self.sample is None else self.sample.keys,
        }


@declared
class MomentHasher(Hasher):
    """Base of the hashers that learn from `Moments` and from rows. A subclass implements ``_solve``.

    A fitted model contains the moments, and the sample if one is needed, so that `partial_fit` can add rows.
    """

    _fits_streams = True
    _product_axes = 0  # of the products that `_solve` needs, see `measure_moments`
    _needs_rows = False

    def _check_sizes(self, d):
        """Raise a ValueError if the parameters do not suit rows of d features."""

    def _solve(self, moments, rows, generator):
        """The learned state, a dict of tensors and plain values, from the moments and from `Blocks` of rows."""
        raise NotImplementedError

    @fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the hash function.

        Parameters
        ----------
        X : array of shape (n, n_features), or iterable of such arrays
            Features. An iterable, such as a generator, is read once, one array at a time.

        Raises
        ------
        ValueError
            If X contains NaN or infinity, or if the method cannot give ``n_bits`` bits.

        Warns
        -----
        ConvergenceWarning
            If all rows are equal.
        """
        held, is_whole = None, not is_stream(X)
        for given in [self._read(X, reset=True)] if is_whole else self._read_blocks(X):
            blocks = Blocks(given.data, device=given.device, dtype=given.dtype).held()
            held = self._extended(held, given, blocks)
        assert held is not None  # a stream without blocks is refused
        warn_of_constant(held.moments.columns, type(self).__name__)
        self._state = self._solved(held, given, blocks if is_whole else None)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more rows. The model is that of all rows so far, also of those of an earlier `fit`.

        Each call computes the whole model from sums over all rows, so pass at least some thousand rows per call.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Features.

        Raises
        ------
        ValueError
            If X contains NaN or infinity, if the method cannot give ``n_bits`` bits, or if the model was saved by an
            earlier version, which did not keep sums.
        """
        earlier = getattr(self, "_state", None)
        if earlier is not None and earlier.get("held") is None:
            raise ValueError(
                f"this {type(self).__name__} was saved by an earlier version, which kept no sums that more rows could "
                "be added to. Fit a clone"
            )
        given = self._read(X, reset=earlier is None)
        held = None if earlier is None else Held.from_state(earlier["held"], float64_device(given.device))
        blocks = Blocks(given.data, device=given.device, dtype=given.dtype).held()
        self._state = self._solved(self._extended(held, given, blocks), given)
        return self

    def _extended(self, held, given, blocks):
        """What is kept after more rows, of which ``held`` contains the earlier ones or is None."""
        d = given.data.shape[1]
        self._check_sizes(d)
        moments = measure_moments(blocks, self._product_axes)
        if held is None:
            seed = torch_generator(getattr(self, "random_state", 0)).initial_seed()
            sample = RowSample.empty(d, SAMPLE_SIZE, seed) if self._needs_rows else None
        else:
            seed, moments, sample = held.seed, held.moments + moments, held.sample
        return Held(seed, moments, None if sample is None else sample.extended(given.data, given.dtype))

    def _solved(self, held, given, rows=None):
        """The state learned from what is kept, and from ``rows`` instead of the sample if they are all rows."""
        if rows is None:
            sample = given.data[:0] if held.sample is None else held.sample.rows
            rows = Blocks(sample, device=given.device, dtype=given.dtype)
        state = self._solve(held.moments, rows, torch.Generator().manual_seed(held.seed))
        state = {key: as_numpy(value) if isinstance(value, torch.Tensor) else value for key, value in state.items()}
        return {**state, "held": held.to_state(), "namespace": given.kind.name}
