"""Hashers with random or principal projections: sign, LSH, SKLSH, PCA."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Literal

import torch

from sklinvariant.accumulate import Blocks, Columns, deviations, measure_columns
from sklinvariant.base import Array, Count, Positive, RandomState, check_size, declared
from sklinvariant.hashing._hasher import Hasher, principal_directions


def typical_distance(blocks: Blocks, columns: Columns) -> float:
    """Root mean squared distance between two random rows: √2 times that of the rows from their mean."""
    each = deviations(blocks, columns)
    return math.sqrt(2) * float(torch.linalg.vector_norm(each / each.max()) * each.max()) if each.any() else 0.0


@declared
class SignHasher(Hasher):
    """One bit for each feature: whether it is above its mean. A baseline for other hashers.

    Examples
    --------
    >>> from sklinvariant.hashing import SignHasher
    >>> SignHasher().fit_transform([[0.0, 5.0], [1.0, 3.0]])
    array([[0, 1],
           [1, 0]], dtype=uint8)
    """

    _layout = {"mean": Array("n_features_in_")}

    def _check_layout(self):
        if self._state["n_bits"] != self.n_features_in_:
            raise ValueError(f"n_bits is {self._state['n_bits']}, but must be {self.n_features_in_}. Fit again.")

    def _learn(self, blocks, generator):
        return {"mean": measure_columns(blocks).mean, "n_bits": blocks.shape[1]}

    def _project(self, X, state):
        return X - state["mean"]


@declared
class LSHHasher(Hasher):
    """Locality-sensitive hashing: signs of random projections, whose Hamming distances approximate angles.

    Two rows differ in each bit with probability angle / π, where the angle is measured at the mean of the training
    rows.

    Parameters
    ----------
    n_bits : int
        Length of the code. More bits approximate angles more accurately.

    References
    ----------
    Charikar (2002). Similarity estimation techniques from rounding algorithms.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
    }
    n_bits: Count = 64
    _: KW_ONLY
    random_state: RandomState = None

    def _learn(self, blocks, generator):
        check_size(self.n_bits * blocks.shape[1], n_bits=self.n_bits)
        directions = torch.randn(self.n_bits, blocks.shape[1], generator=generator, dtype=torch.float64)
        return {"mean": measure_columns(blocks).mean, "directions": directions, "n_bits": self.n_bits}

    def _project(self, X, state):
        return (X - state["mean"]) @ state["directions"].T


@declared
class SKLSHHasher(Hasher):
    """Hashing for shift-invariant kernels: Hamming distances approximate a Gaussian kernel of the rows.

    A bit is the sign of ``cos(w·x + b) + t``, where w is normal with variance γ, b uniform in [0, 2π] and t uniform in
    [-1, 1].

    Parameters
    ----------
    n_bits : int
        Length of the code. More bits approximate the kernel more accurately.
    gamma : float or "scale"
        Parameter of the kernel ``exp(-γ ‖x - y‖² / 2)``. Larger values separate closer rows. "scale" is 1 over the mean
        squared distance between two rows.
    random_state : int, RandomState or None
        Seeds w, b and t.

    References
    ----------
    Raginsky, Lazebnik (2009). Locality-sensitive binary codes from shift-invariant kernels. Equation 4.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
        "phase": Array("n_bits"),
        "threshold": Array("n_bits"),
    }
    n_bits: Count = 64
    _: KW_ONLY
    gamma: Literal["scale"] | Positive = "scale"
    random_state: RandomState = None

    def _learn(self, blocks, generator):
        columns = measure_columns(blocks)
        root = 1 / (typical_distance(blocks, columns) or 1.0) if self.gamma == "scale" else self.gamma**0.5
        check_size(self.n_bits * blocks.shape[1], n_bits=self.n_bits)
        directions = torch.randn(self.n_bits, blocks.shape[1], generator=generator, dtype=torch.float64) * root
        phase = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 * torch.pi
        threshold = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 - 1
        # the rows are centred, which does not change the kernel, so that products stay small
        return {
            "mean": columns.mean,
            "directions": directions,
            "phase": phase,
            "threshold": threshold,
            "n_bits": self.n_bits,
        }

    def _project(self, X, state):
        return torch.cos((X - state["mean"]) @ state["directions"].T + state["phase"]) + state["threshold"]


@declared
class PCAHasher(Hasher):
    """Signs of the leading principal components. Later bits carry less information; `ITQHasher` balances them.

    Parameters
    ----------
    n_bits : int
        Length of the code, at most the number of features.

    References
    ----------
    Gong, Lazebnik (2011). Iterative quantization, section 2.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
    }
    n_bits: Count = 64
    _: KW_ONLY

    def _learn(self, blocks, generator):
        columns, directions = principal_directions(blocks, self.n_bits, "PCAHasher")
        return {"mean": columns.mean.to(directions.dtype), "directions": directions, "n_bits": self.n_bits}

    def _project(self, X, state):
        return (X - state["mean"]) @ state["directions"].T
