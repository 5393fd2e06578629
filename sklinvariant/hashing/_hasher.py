"""The base of the hashers: bits are the signs of real-valued projections of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from torch import nn

from sklinvariant._compat import CallbackSupportMixin
from sklinvariant._warnings import warn
from sklinvariant.accumulate import Columns, Moments
from sklinvariant.base import (
    OnDevice,
    RowFeaturesOutMixin,
    RowReader,
    TorchEstimator,
    Whole,
    as_tensor,
    check_computed,
    declared,
)
from sklinvariant.ops import chunk_rows, concatenated


def pack_bits(bits: torch.Tensor) -> torch.Tensor:
    """Pack (n, b) bits into (n, ⌈b / 8⌉) bytes as numpy.packbits: the first bit is the highest, padded with zeros."""
    n, b = bits.shape
    padded = torch.zeros(n, -(-b // 8) * 8, dtype=torch.uint8, device=bits.device)
    padded[:, :b] = bits
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    return (padded.view(n, -1, 8) * weights).sum(2, dtype=torch.uint8)


@declared
class Hasher(OnDevice, CallbackSupportMixin, RowFeaturesOutMixin, TransformerMixin, TorchEstimator):
    """Base of the hashers. A subclass learns its state in `fit` and computes projections in ``_project``.

    Parameters
    ----------
    packed : bool
        Return bytes that hold 8 bits each.
    random_state : int, RandomState or None
        Seeds the random projections. Pass an int to get the same codes each time.
    """

    _: KW_ONLY
    packed: bool = False

    _fits_in_parts = True
    _layout = {"n_bits": Whole()}
    _reader = RowReader(wide=True)

    @staticmethod
    def _project(X: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
        """(n, n_bits) real numbers whose signs are the bits."""
        raise NotImplementedError

    def transform(self, X: Any) -> Any:
        """Compute the codes of rows.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Features.

        Returns
        -------
        array of shape (n, n_bits) or (n, ⌈n_bits / 8⌉)
            Codes, uint8: bits 0 and 1, or with ``packed=True`` bytes of 8 bits, where the first bit is the highest.
        """
        given = self._read(X)
        return given.answer(self._in_blocks(given, self._bits))

    def decision_function(self, X: Any) -> Any:
        """Compute the projections whose signs are the bits; their absolute values indicate how certain the bits are.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Features.

        Returns
        -------
        array of shape (n, n_bits)
            Projections.
        """
        given = self._read(X)
        return given.answer(self._in_blocks(given, self._scores))

    def _in_blocks(self, given, function):
        """``function`` of all rows, computed for as many rows at a time as stay in the cache."""
        at_once = chunk_rows(max(given.data.shape[1], self._state["n_bits"]), given.dtype, given.device)
        blocks = given.data.split(at_once)
        return concatenated((function(block.to(given.device, given.dtype)) for block in blocks), len(given.data))

    def _bits(self, X):
        """The codes of rows."""
        bits = (self._scores(X) > 0).to(torch.uint8)
        return pack_bits(bits) if self.packed else bits

    @property
    def _n_features_out(self):
        n_bits = self._state["n_bits"]
        return -(-n_bits // 8) if self.packed else n_bits

    def _scores(self, X):
        """The projections of rows, whose signs are the bits."""
        state = {
            key: as_tensor(value).to(X) if isinstance(value, np.ndarray) else value
            for key, value in self._state.items()
        }
        with torch.no_grad():
            return check_computed(self, self._project(X, state))

    def _modules_of_methods(self, dtype):
        return {
            "transform": lambda: HashFunction(self._project, self._state, _packed if self.packed else _unpacked),
            "decision_function": lambda: HashFunction(self._project, self._state),
        }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class HashFunction(nn.Module):
    """The projections of a hasher, from its fitted state, or an ``answer`` computed from them."""

    def __init__(
        self,
        project: Callable[[torch.Tensor, dict[str, Any]], torch.Tensor],
        state: dict[str, Any],
        answer: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.project, self.answer = project, answer
        self.state = {name: value for name, value in state.items() if isinstance(value, (int, float, str))}
        self.names = [name for name, value in state.items() if isinstance(value, np.ndarray)]
        for name in self.names:
            self.register_buffer(name, torch.tensor(np.asarray(state[name])))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        scores = self.project(X, {**self.state, **{name: getattr(self, name) for name in self.names}})
        return scores if self.answer is None else self.answer(scores)


def _unpacked(scores):
    return (scores > 0).to(torch.uint8)


def _packed(scores):
    """`pack_bits` of the signs, by operators that ONNX has."""
    bits = nn.functional.pad((scores > 0).to(torch.int32), (0, -scores.shape[1] % 8)).unflatten(1, (-1, 8))
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.int32, device=bits.device)
    return (bits * weights).sum(2).to(torch.uint8)


def check_enough_features(n_bits: int, d: int, name: str) -> None:
    """Raise a ValueError if there are more bits than features, for hashers with one bit per principal direction."""
    if n_bits > d:
        raise ValueError(
            f"n_bits={n_bits} is more than the {d} features of X, but {name} gives one bit for each principal "
            "direction. Lower n_bits."
        )


def warn_of_constant(columns: Columns, name: str) -> None:
    """Warn if all rows are equal. A single row is no mistake: it may be the first of an index."""
    if columns.mass > 1 and torch.equal(columns.low, columns.high):
        warn(
            f"{name}: all features are constant, so all rows get the same code. Fit to rows that differ.",
            ConvergenceWarning,
        )


def principal_directions(moments: Moments, n_components: int) -> torch.Tensor:
    """The leading principal directions (n_components, d) of rows, in float64, from all products of their moments."""
    assert moments.products is not None
    vectors = torch.linalg.eigh(moments.products)[1].flip(1)[:, :n_components].T
    # a deterministic sign: the largest entry is positive
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, vectors.new_tensor(-1.0), 1.0)


def signs(x: torch.Tensor) -> torch.Tensor:
    """1 for positive values, else -1."""
    return torch.where(x > 0, x.new_tensor(1.0), -1.0)


def random_rotation(size: int, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    """A uniformly distributed orthogonal matrix: Q of a normal matrix, with the signs of the diagonal of R."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return (q * r.diagonal().sign()).to(dtype)
