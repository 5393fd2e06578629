"""Bilinear projections: two small rotations instead of one large rotation (Gong et al. 2013)."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY

import torch

from sklinvariant.accumulate import Blocks, accumulate
from sklinvariant.base import Array, Count, CountOrZero, FittedState, RandomState, declared, is_count
from sklinvariant.hashing._hasher import random_rotation, signs
from sklinvariant.hashing._moment_hasher import MomentHasher, held_layout


def nearest_to_square(size: int) -> tuple[int, int]:
    """The two factors of a number that are closest to each other, the smaller one first."""
    small = next(factor for factor in range(math.isqrt(size), 0, -1) if size % factor == 0)
    return small, size // small


def fit_bilinear(
    blocks: Blocks, left: torch.Tensor, right: torch.Tensor, max_iter: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Maximise Σ tr(B Rᵀ xᵀ L) alternately over signs B and matrices L, R with orthonormal columns; x are (p, q)."""
    for _ in range(max_iter):
        left = _polar(accumulate(_product_for_left, blocks, (left, right))).to(left)
        right = _polar(accumulate(_product_for_right, blocks, (left, right))).to(right)
    return left, right


def _product_for_left(x, state):
    left, right = state
    half = x @ right  # (n, p, c2)
    return torch.einsum("npc,nkc->pk", half, signs(left.T @ half))


def _product_for_right(x, state):
    left, right = state
    half = left.T @ x  # (n, c1, q)
    return torch.einsum("nkq,nkc->qc", half, signs(half @ right))


def _polar(matrix):
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


@declared
class BilinearHasher(MomentHasher):
    """Signs of bilinear projections of rows reshaped to matrices: long codes of long vectors in little memory (BPBC).

    The bits are the signs of :math:`L^T x R` for a matrix x, with two small rotations L and R instead of a large one.

    Parameters
    ----------
    n_bits : int
        Length of the code. It must be a product of two integers that do not exceed the height and width of the layout.
    layout : (int, int) or None
        Height and width of the matrix x. None takes the most similar factors of the number of features.
    max_iter : int
        Number of iterations. 0 keeps random rotations (the paper's BPBC-rand).
    random_state : int, RandomState or None
        Seeds the initial rotations.

    Attributes
    ----------
    n_iter_ : int
        Number of iterations.

    References
    ----------
    Gong, Kumar, Rowley, Lazebnik (2013). Learning binary codes for high-dimensional data using bilinear projections.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "left": Array("p", None),
        "right": Array("q", None),
        "held": held_layout(rows=True),
    }
    _needs_rows = True
    n_bits: Count = 64
    _: KW_ONLY
    layout: tuple | list | None = None
    max_iter: CountOrZero = 10
    random_state: RandomState = None

    n_iter_ = FittedState("Number of iterations.")

    def _check_layout(self):
        state, sides = self._state, (self._state["left"].shape, self._state["right"].shape)
        for name, i, expected in (("features", 0, self.n_features_in_), ("bits", 1, state["n_bits"])):
            if sides[0][i] * sides[1][i] != expected:
                raise ValueError(f"left and right have shapes {sides}, but must give {expected} {name}. Fit again.")

    def _check_sizes(self, d):
        self._sizes(d)

    def _sizes(self, d):
        """Height and width of the matrix x, and the numbers of columns of L and R."""
        layout = nearest_to_square(d) if self.layout is None else self.layout
        if len(layout) != 2 or not all(map(is_count, layout)) or layout[0] * layout[1] != d:
            raise ValueError(
                f"layout={self.layout!r} does not match the {d} features of X. Pass a height and width whose product "
                f"is {d}, or None."
            )
        p, q = layout
        fits = [(k, self.n_bits // k) for k in range(1, p + 1) if self.n_bits % k == 0 and self.n_bits // k <= q]
        if not fits:
            raise ValueError(
                f"n_bits={self.n_bits} is not a product of two integers of at most {p} and {q}, the layout of {d} "
                "features. Choose another n_bits or layout."
            )
        return p, q, *min(fits, key=lambda size: abs(math.log(size[0] * q / (size[1] * p))))

    def _solve(self, moments, rows, generator):
        p, q, n_left, n_right = self._sizes(rows.shape[1])
        left = random_rotation(p, generator, rows.dtype).to(rows.device)[:, :n_left]
        right = random_rotation(q, generator, rows.dtype).to(rows.device)[:, :n_right]
        mean, unit = moments.columns.mean.to(left), moments.columns.unit
        matrices = rows.map(lambda x: ((x - mean) / unit).view(-1, p, q)).held()
        left, right = fit_bilinear(matrices, left, right, self.max_iter)
        return {"mean": mean, "left": left, "right": right, "n_bits": self.n_bits, "n_iter": self.max_iter}

    @staticmethod
    def _project(X, state):
        left, right = state["left"], state["right"]
        return (left.T @ (X - state["mean"]).view(-1, len(left), len(right)) @ right).flatten(1)
