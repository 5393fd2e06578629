"""Hashers with random or principal projections: sign, LSH, SKLSH, PCA."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Literal

import torch

from sklinvariant.base import Array, Count, Positive, RandomState, check_size, declared
from sklinvariant.hashing._hasher import Hasher, principal_directions, typical_distance


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

    def _learn(self, X, generator):
        return {"mean": X.double().mean(0), "n_bits": X.shape[1]}

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

    def _learn(self, X, generator):
        check_size(self.n_bits * X.shape[1], n_bits=self.n_bits)
        directions = torch.randn(self.n_bits, X.shape[1], generator=generator, dtype=torch.float64)
        return {"mean": X.double().mean(0), "directions": directions, "n_bits": self.n_bits}

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

    def _learn(self, X, generator):
        root = 1 / (typical_distance(X) or 1.0) if self.gamma == "scale" else self.gamma**0.5
        check_size(self.n_bits * X.shape[1], n_bits=self.n_bits)
        directions = torch.randn(self.n_bits, X.shape[1], generator=generator, dtype=torch.float64) * root
        phase = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 * torch.pi
        threshold = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 - 1
        # the rows are centred, which does not change the kernel, so that products stay small
        return {
            "mean": X.double().mean(0),
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

    def _learn(self, X, generator):
        mean, directions = principal_directions(X, self.n_bits, "PCAHasher")
        return {"mean": mean, "directions": directions, "n_bits": self.n_bits}

    def _project(self, X, state):
        return (X - state["mean"]) @ state["directions"].T
