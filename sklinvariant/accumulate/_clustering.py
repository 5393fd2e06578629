"""k-means and diagonal Gaussian mixtures of weighted rows, which are read block by block: ``Blocks(values, weights)``.

The initial codewords are drawn by inverting the weighted distribution of the rows along a random direction. This is an
exact random sample. It needs no k-means++ pass, whose N x k distances cost more than the clustering, and it depends
neither on the order of the rows nor on whether a weight is given as a repetition.

Axes: N rows, d features, k codewords.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.accumulate._accumulate import accumulate
from sklinvariant.accumulate._blocks import Blocks
from sklinvariant.accumulate._columns import deviations, measure_columns
from sklinvariant.ops import Mixture, mixture_scores, nearest_codewords, sum_by_label, unit_of, weighted_moments

EM_ROWS = 4096  # rows in a block of the E-step on a CPU, where it needs (rows, k) and (rows, 2d) numbers


class _Assigned(NamedTuple):
    mass: torch.Tensor  # (k,) Σ w of the rows of each codeword
    sums: torch.Tensor  # (k, d) Σ w x


class _Expected(NamedTuple):
    mass: torch.Tensor  # (k,) Σ q
    sums: torch.Tensor  # (k, 2d) Σ q (x, x²)
    likelihood: torch.Tensor  # () Σ w log p(x)


@in_own_precision
def draw_rows(blocks: Blocks, size: int, generator: torch.Generator | None) -> torch.Tensor:
    """Indices (size,) of a random sample of the weighted rows, stratified along a random direction."""
    direction = torch.randn(blocks.shape[1], generator=generator, dtype=torch.float64, device="cpu")
    jitter = torch.rand(size, generator=generator, dtype=torch.float64, device="cpu")
    order = blocks.map(lambda rows: rows @ direction.to(rows)).whole().argsort(stable=True)
    mass = torch.as_tensor(blocks.others[0]).to(order.device)[order].to(torch.float64).cumsum_(0)
    targets = ((torch.arange(size, dtype=torch.float64, device="cpu") + jitter) / size).to(mass.device) * mass[-1]
    return order[torch.searchsorted(mass, targets, right=True).clamp_(max=len(order) - 1)]


@in_own_precision
def fit_kmeans(
    blocks: Blocks, k: int, *, max_iter: int, tol: float, generator: torch.Generator | None
) -> tuple[torch.Tensor, int]:
    """Lloyd's algorithm from a random initialisation: codebook (k, d) and number of iterations.

    It stops when the squared movement of the codewords is below ``tol`` times the mean variance of a feature.
    A codeword without rows moves to the row that is farthest from its nearest codeword.
    """
    columns = measure_columns(blocks)
    unit = unit_of(float(torch.maximum(columns.high, -columns.low).max()), blocks.dtype)
    variance = float((deviations(blocks, columns) / unit).square().mean())
    if unit != 1:
        blocks = blocks.map(lambda rows: rows / unit).held()
    codebook = blocks.take(draw_rows(blocks, k, generator))
    weighted = not bool((torch.as_tensor(blocks.others[0]) == 1).all())
    n_iter = 0
    for n_iter in range(1, max_iter + 1):  # noqa: B007 (reported)
        mass, sums = accumulate(assign, blocks, (codebook, weighted))
        moved = (sums / torch.where(mass > 0, mass, 1.0)[:, None]).to(codebook)
        empty = (mass == 0).nonzero()[:, 0]
        if len(empty):
            moved[empty] = _farthest(blocks, codebook, len(empty))
        change = float((moved - codebook).square().sum())
        codebook = moved
        if change <= tol * variance:
            break
    return codebook * unit, n_iter


def assign(block: Any, state: Any) -> _Assigned:
    """The statistics of k-means of a block of rows and weights; ``state`` is the codebook and whether weights count."""
    (rows, weights), (codebook, weighted) = block, state
    labels = nearest_codewords(rows, codebook)
    mass = sum_by_label(weights, labels, len(codebook))
    return _Assigned(mass, sum_by_label(rows, labels, len(codebook), weights if weighted else None).to(codebook))


def _farthest(blocks, codebook, count):
    """The rows farthest from their nearest codeword, repeated if there are fewer than ``count``."""
    distances = blocks.map(lambda rows: nearest_codewords(rows, codebook, return_distance=True)[1]).whole()
    distances *= torch.as_tensor(blocks.others[0]).to(distances.device) > 0
    order = distances.argsort(descending=True, stable=True)[:count]
    return blocks.take(order[torch.arange(count, device=order.device) % len(order)])


@in_own_precision
def fit_mixture(
    blocks: Blocks,
    k: int,
    *,
    max_iter: int,
    tol: float,
    generator: torch.Generator | None,
    reg_covar: float = 1e-6,
) -> tuple[Mixture, int, float]:
    """Fit a diagonal mixture by EM, initialised by k-means: Mixture, iterations and mean log-likelihood.

    It stops when the mean log-likelihood of a row increases by less than ``tol``. The rows should have a scale near 1,
    because ``reg_covar`` is added to every variance.
    """
    means, _ = fit_kmeans(blocks, k, max_iter=10, tol=1e-3, generator=generator)
    mixture = hard_mixture(blocks, means, reg_covar)
    previous, likelihood, n_iter = -np.inf, -np.inf, 0
    for n_iter in range(1, max_iter + 1):  # noqa: B007 (reported)
        mixture, likelihood = _maximize(expected(blocks, mixture), reg_covar, means)
        if abs(likelihood - previous) < tol:
            break
        previous = likelihood
    return mixture, n_iter, likelihood


@in_own_precision
def hard_mixture(blocks: Blocks, means: torch.Tensor, reg_covar: float = 1e-6) -> Mixture:
    """The Mixture with these means (k, d) and the weights and variances of the rows nearest to each mean."""
    mass, squares = accumulate(_spread, blocks, means)
    variances = squares / mass.clamp(min=torch.finfo(means.dtype).tiny)[:, None] + reg_covar
    return Mixture((mass / mass.sum()).to(means), means, variances.to(means))


def _spread(block, means):
    rows, weights = block
    labels = nearest_codewords(rows, means)
    mass = sum_by_label(weights, labels, len(means))
    squares = (rows - means[labels]).square_()
    return _Assigned(mass, sum_by_label(squares, labels, len(means), weights))


def expected(blocks: Blocks, mixture: Mixture) -> _Expected:
    """The E-step of all rows."""
    if blocks.device.type == "cpu":
        blocks = blocks.of_size(EM_ROWS)
    return accumulate(_expect, blocks, mixture_scores(mixture))


def _expect(block, scores):
    rows, weights = block
    return _Expected(*weighted_moments(rows, weights, scores.weight, scores.bias))


def _maximize(expected, reg_covar, like):
    mass, sums, likelihood = expected
    first, second = (sums / mass.clamp(min=10 * torch.finfo(like.dtype).eps)[:, None]).chunk(2, dim=1)
    variances = (second - first * first).clamp_(min=0) + reg_covar
    mixture = Mixture(*(part.to(like) for part in (mass / mass.sum(), first, variances)))
    return mixture, float(likelihood / mass.sum())
