"""Iterative quantization: rotate principal components to minimise the quantization error (Gong and Lazebnik 2011)."""

from __future__ import annotations

from dataclasses import KW_ONLY

import torch

from sklinvariant.accumulate import Blocks, accumulate
from sklinvariant.base import Array, Count, CountOrZero, FittedState, RandomState, declared
from sklinvariant.hashing._hasher import check_enough_features, principal_directions, random_rotation, signs
from sklinvariant.hashing._moment_hasher import MomentHasher, held_layout


def fit_rotation(blocks: Blocks, rotation: torch.Tensor, max_iter: int) -> tuple[torch.Tensor, int]:
    """Minimise ‖B - V R‖ (equation 2) alternately over signs B and rotations R, the latter a Procrustes problem.

    Iterations stop when VᵀB does not change. Returns the rotation and the number of iterations.
    """
    before = None
    for turn in range(max_iter):
        product = accumulate(lambda V, rotation: V.T @ signs(V @ rotation), blocks, rotation)
        if before is not None and torch.equal(product, before):
            return rotation, turn
        left, _, right = torch.linalg.svd(product)
        rotation, before = (left @ right).to(rotation), product
    return rotation, max_iter


@declared
class ITQHasher(MomentHasher):
    """Signs of rotated principal components, with a rotation that minimises the quantization error.

    Parameters
    ----------
    n_bits : int
        Length of the code, at most the number of features.
    max_iter : int
        Maximum number of iterations. The default is that of the paper.
    random_state : int, RandomState or None
        Seeds the initial rotation.

    Attributes
    ----------
    n_iter_ : int
        Number of iterations until no sign changed, at most ``max_iter``.

    See Also
    --------
    NeighborHasher : Finds more of the nearest rows, and gives more bits than there are features.

    References
    ----------
    Gong, Lazebnik (2011). Iterative quantization: a Procrustean approach to learning binary codes. Section 3.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
        "held": held_layout("n_features_in_", "n_features_in_", rows=True),
    }
    _product_axes = 2
    _needs_rows = True
    n_bits: Count = 64
    _: KW_ONLY
    max_iter: CountOrZero = 50
    random_state: RandomState = None

    n_iter_ = FittedState("Number of iterations.")

    def _check_sizes(self, d):
        check_enough_features(self.n_bits, d, "ITQHasher")

    def _solve(self, moments, rows, generator):
        directions = principal_directions(moments, self.n_bits).to(rows.device, rows.dtype)
        mean, unit = moments.columns.mean.to(directions), moments.columns.unit  # the unit does not change the signs
        start = random_rotation(self.n_bits, generator, rows.dtype).to(rows.device)
        components = rows.map(lambda x: ((x - mean) / unit) @ directions.T).held()
        rotation, n_iter = fit_rotation(components, start, self.max_iter)
        return {"mean": mean, "directions": rotation.T @ directions, "n_bits": self.n_bits, "n_iter": n_iter}

    @staticmethod
    def _project(X, state):
        return (X - state["mean"]) @ state["directions"].T
