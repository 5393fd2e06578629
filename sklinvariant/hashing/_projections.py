"""Hashers with random or principal projections: sign, LSH, SKLSH, PCA."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Literal

import torch

from sklinvariant.base import Array, Count, Positive, RandomState, check_size, declared
from sklinvariant.hashing._hasher import check_enough_features, principal_directions
from sklinvariant.hashing._moment_hasher import MomentHasher, held_layout


@declared
class SignHasher(MomentHasher):
    """One bit for each feature: whether it is above its mean. A baseline for other hashers.

    Examples
    --------
    >>> from sklinvariant.hashing import SignHasher
    >>> SignHasher().fit_transform([[0.0, 5.0], [1.0, 3.0]])
    array([[0, 1],
           [1, 0]], dtype=uint8)
    """

    _layout = {"mean": Array("n_features_in_"), "held": held_layout()}

    def _check_layout(self):
        if self._state["n_bits"] != self.n_features_in_:
            raise ValueError(f"n_bits is {self._state['n_bits']}, but must be {self.n_features_in_}. Fit again.")

    def _solve(self, moments, rows, generator):
        return {"mean": moments.columns.mean, "n_bits": len(moments.columns.mean)}

    @staticmethod
    def _project(X, state):
        return X - state["mean"]


@declared
class LSHHasher(MomentHasher):
    r"""Locality-sensitive hashing: signs of random projections, whose Hamming distances approximate angles.

    Two rows at an angle θ, measured at the mean of the training rows, differ in each bit with probability
    :math:`\theta / \pi`.

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
        "held": held_layout(),
    }
    n_bits: Count = 64
    _: KW_ONLY
    random_state: RandomState = None

    def _check_sizes(self, d):
        check_size(self.n_bits * d, n_bits=self.n_bits)

    def _solve(self, moments, rows, generator):
        mean = moments.columns.mean
        directions = torch.randn(self.n_bits, len(mean), generator=generator, dtype=torch.float64)
        return {"mean": mean, "directions": directions, "n_bits": self.n_bits}

    @staticmethod
    def _project(X, state):
        return (X - state["mean"]) @ state["directions"].T


@declared
class SKLSHHasher(MomentHasher):
    r"""Hashing for shift-invariant kernels: Hamming distances approximate a Gaussian kernel of the rows.

    A bit is the sign of :math:`\cos(w \cdot x + b) + t`, where w is normal with variance γ, b uniform in [0, 2π] and t
    uniform in [-1, 1].

    Parameters
    ----------
    n_bits : int
        Length of the code. More bits approximate the kernel more accurately.
    gamma : float or "scale"
        Parameter γ of the kernel :math:`\exp(-\gamma \lVert x - y \rVert^2 / 2)`. Larger values separate closer rows.
        "scale" is 1 over the mean squared distance between two rows.
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
        "held": held_layout("n_features_in_"),
    }
    _product_axes = 1
    n_bits: Count = 64
    _: KW_ONLY
    gamma: Literal["scale"] | Positive = "scale"
    random_state: RandomState = None

    def _check_sizes(self, d):
        check_size(self.n_bits * d, n_bits=self.n_bits)

    def _solve(self, moments, rows, generator):
        mean = moments.columns.mean
        typical = math.sqrt(2) * moments.total_deviation  # root mean squared distance between two rows
        root = 1 / (typical or 1.0) if self.gamma == "scale" else self.gamma**0.5
        directions = torch.randn(self.n_bits, len(mean), generator=generator, dtype=torch.float64) * root
        phase = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 * torch.pi
        threshold = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 - 1
        # the rows are centred, which does not change the kernel, so that products stay small
        return {
            "mean": mean,
            "directions": directions,
            "phase": phase,
            "threshold": threshold,
            "n_bits": self.n_bits,
        }

    @staticmethod
    def _project(X, state):
        return torch.cos((X - state["mean"]) @ state["directions"].T + state["phase"]) + state["threshold"]


@declared
class PCAHasher(MomentHasher):
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
        "held": held_layout("n_features_in_", "n_features_in_"),
    }
    _product_axes = 2
    n_bits: Count = 64
    _: KW_ONLY

    def _check_sizes(self, d):
        check_enough_features(self.n_bits, d, "PCAHasher")

    def _solve(self, moments, rows, generator):
        directions = principal_directions(moments, self.n_bits).to(rows.dtype)
        return {"mean": moments.columns.mean.to(rows.dtype), "directions": directions, "n_bits": self.n_bits}

    @staticmethod
    def _project(X, state):
        return (X - state["mean"]) @ state["directions"].T
