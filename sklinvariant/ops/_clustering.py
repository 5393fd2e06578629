"""k-means and diagonal Gaussian mixtures of weighted descriptors, on the device of the descriptors.

The initial codewords are drawn by inverting the weighted distribution of the descriptors along a random direction. This
is an exact random sample. It needs no k-means++ pass, whose N x k distances cost more than the clustering, and it
depends neither on the order of the descriptors nor on whether a weight is given as a repetition.
"""

from typing import NamedTuple

import numpy as np
import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._nearest import nearest_codewords
from sklinvariant.ops._scale import in_safe_unit
from sklinvariant.ops._soft_moments import Scores

_LOG_TWO_PI = float(np.log(2 * np.pi))


class Mixture(NamedTuple):
    """A mixture of k Gaussians with diagonal covariances, for descriptors ``(x - shift) / scale``."""

    weights: torch.Tensor  # (k,)
    means: torch.Tensor  # (k, d)
    variances: torch.Tensor  # (k, d)


def draw_rows(
    values: torch.Tensor, weights: torch.Tensor, size: int, generator: torch.Generator | None
) -> torch.Tensor:
    """Indices (size,) of a random sample of the weighted rows, stratified along a random direction."""
    direction = torch.randn(values.shape[1], generator=generator, dtype=torch.float64, device="cpu")
    jitter = torch.rand(size, generator=generator, dtype=torch.float64, device="cpu")
    order = (values @ direction.to(values)).argsort(stable=True)
    mass = weights.to(torch.float64)[order].cumsum(0)
    targets = ((torch.arange(size, dtype=torch.float64, device="cpu") + jitter) / size).to(mass.device) * mass[-1]
    return order[torch.searchsorted(mass, targets, right=True).clamp_(max=len(order) - 1)]


@in_own_precision
def fit_kmeans(
    values: torch.Tensor, weights: torch.Tensor, k: int, *, max_iter: int, tol: float, generator: torch.Generator | None
) -> tuple[torch.Tensor, int]:
    """Lloyd's algorithm from a random initialisation: codebook (k, d) and number of iterations.

    It stops when the squared movement of the codewords is below ``tol`` times the mean variance of a feature.
    A codeword without descriptors moves to the descriptor that is farthest from its nearest codeword.
    """
    values, unit = in_safe_unit(values)
    codebook = values[draw_rows(values, weights, k, generator)]
    weighted = values if bool((weights == 1).all()) else values * weights[:, None]
    mean = weighted.sum(0) / weights.sum()
    variance = weights @ (values - mean).square().mean(1) / weights.sum()
    n_iter = 0
    for n_iter in range(1, max_iter + 1):  # noqa: B007 (reported)
        labels = nearest_codewords(values, codebook)
        mass = torch.zeros_like(codebook[:, 0]).index_add_(0, labels, weights)
        sums = torch.zeros_like(codebook).index_add_(0, labels, weighted)
        empty = (mass == 0).nonzero()[:, 0]
        moved = sums / torch.where(mass > 0, mass, torch.ones_like(mass))[:, None]
        if len(empty):
            moved[empty] = _farthest(values, weights, codebook, len(empty))
        change = float((moved - codebook).square().sum())
        codebook = moved
        if change <= tol * float(variance):
            break
    return codebook * unit, n_iter


def _farthest(values, weights, codebook, count):
    """The descriptors farthest from their nearest codeword, repeated if there are fewer than ``count``."""
    _, distances = nearest_codewords(values, codebook, return_distance=True)
    order = (distances * (weights > 0)).argsort(descending=True, stable=True)[:count]
    return values[order[torch.arange(count, device=order.device) % len(order)]]


@in_own_precision
def fit_mixture(
    values: torch.Tensor,
    weights: torch.Tensor,
    k: int,
    *,
    max_iter: int,
    tol: float,
    generator: torch.Generator | None,
    reg_covar: float = 1e-6,
) -> tuple[Mixture, int, float]:
    """Fit a diagonal mixture by EM, initialised by k-means: Mixture, iterations and mean log-likelihood.

    It stops when the mean log-likelihood of a descriptor increases by less than ``tol``. ``values`` should have a
    scale near 1, because ``reg_covar`` is added to every variance.
    """
    means, _ = fit_kmeans(values, weights, k, max_iter=10, tol=1e-3, generator=generator)
    mixture = hard_mixture(values, weights, means, reg_covar)
    previous, likelihood, n_iter = -np.inf, -np.inf, 0
    for n_iter in range(1, max_iter + 1):  # noqa: B007 (reported)
        mixture, likelihood = _em_step(values, weights, mixture, reg_covar)
        if abs(likelihood - previous) < tol:
            break
        previous = likelihood
    return mixture, n_iter, likelihood


@in_own_precision
def hard_mixture(values: torch.Tensor, weights: torch.Tensor, means: torch.Tensor, reg_covar: float = 1e-6) -> Mixture:
    """The Mixture with these means (k, d) and the weights and variances of the values nearest to each mean."""
    labels = nearest_codewords(values, means)
    mass = torch.zeros_like(means[:, 0]).index_add_(0, labels, weights)
    spread = torch.zeros_like(means).index_add_(0, labels, (values - means[labels]).square() * weights[:, None])
    variances = spread / mass.clamp(min=torch.finfo(mass.dtype).tiny)[:, None] + reg_covar
    return Mixture(mass / mass.sum(), means, variances)


@in_own_precision
def mixture_scores(mixture: Mixture, shift: torch.Tensor | None = None, scale: torch.Tensor | None = None) -> Scores:
    """Scores for `soft_moments`: the log of weight times density of each component, up to a common term."""
    weights, means, variances = mixture
    shift = torch.zeros_like(means[0]) if shift is None else shift
    scale = torch.ones_like(means[0, 0]) if scale is None else scale
    precision = 1 / variances
    weight = torch.cat([means * precision, -0.5 * precision], dim=1).T.contiguous()
    bias = weights.clamp(min=torch.finfo(weights.dtype).tiny).log() - 0.5 * (
        variances.log().sum(1) + (means * means * precision).sum(1) + means.shape[1] * _LOG_TWO_PI
    )
    return Scores(weight, bias, shift, scale)


def _em_step(values, weights, mixture, reg_covar, rows=4096):
    scores = mixture_scores(mixture)
    k, d = mixture.means.shape
    mass, sums = values.new_zeros(k), values.new_zeros(k, 2 * d)
    likelihood = 0.0
    for start in range(0, len(values), rows):
        x, w = values[start : start + rows], weights[start : start + rows]
        phi = torch.cat([x, x * x], dim=1)
        log_density = torch.addmm(scores.bias, phi, scores.weight)
        log_norm = torch.logsumexp(log_density, dim=1, keepdim=True)
        q = (log_density - log_norm).exp_() * w[:, None]
        mass += q.sum(0)
        sums.addmm_(q.T, phi)
        likelihood += float(w @ log_norm[:, 0])
    safe = mass.clamp(min=10 * torch.finfo(mass.dtype).eps)[:, None]
    means = sums[:, :d] / safe
    variances = (sums[:, d:] / safe - means * means).clamp_(min=0) + reg_covar
    return Mixture(mass / mass.sum(), means, variances), likelihood / float(weights.sum())
