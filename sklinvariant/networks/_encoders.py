"""Encoders of bags of descriptors, R(F; Θ) = mean of T(f; Θ) (Katharopoulos et al. 2017, eq. 1).

Parameters are kept in units of the data, ``(x - shift) / scale``, so that one learning rate suits descriptors of
size 1e-12 and of size 1e12; ``export`` gives them back in the data's own.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sklinvariant._settings import borrowed_generators, draw_seed
from sklinvariant.ops import Mixture, Scores, mixture_scores, soft_moments, standardize

_SMALL = 1e-6  # below this the square root of power normalisation goes on as a straight line (finite gradient)


class Bags(NamedTuple):
    """Values (N, d), a tensor, and offsets (n + 1,), a numpy array: what every encoder takes."""

    values: torch.Tensor
    offsets: np.ndarray


class Units(NamedTuple):
    """Where the data lies, ``shift`` (d,), and how far it spreads, ``scale`` (one number)."""

    shift: np.ndarray
    scale: float


class BagEncoder(nn.Module):
    """Base of the encoders: the units, and the size of the chunks."""

    def __init__(self, units, dtype, chunk_size=None):
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(np.asarray(units.shift), dtype=dtype))
        self.register_buffer("scale", torch.as_tensor(units.scale, dtype=dtype))
        self.double_scale = float(units.scale)
        self.chunk_size = chunk_size

    def prepare(self, bags, device):
        """Bags as ``forward`` takes them: where they lie, for it loads a chunk at a time."""
        return bags

    def inward(self, x):
        """Data units -> own units, (k, d); computed in double precision."""
        x = (torch.as_tensor(np.asarray(x, dtype=np.float64)) - self.shift.double().cpu()) / self.double_scale
        return x.to(self.shift.dtype)

    def outward(self, x):
        x = x.detach().double() * self.double_scale + self.shift.double()
        return x.to(self.shift.dtype).cpu().numpy()


class SoftBagOfWords(BagEncoder):
    """T1 of the paper, eq. 6-8: q_k(f) ∝ exp(-γ (f - C_k)ᵀ Σ_k⁻¹ (f - C_k)), averaged over the bag: (n, k).

    ``covariances`` (k, d) are the diagonals of Σ, without a unit; None means the identity. Codewords move in units of
    √Σ at the start: where a feature of a codeword hardly varies, a larger step would throw it far off.
    """

    def __init__(self, codebook, covariances, gamma, units, *, dtype, learn_gamma=False, chunk_size=None):
        super().__init__(units, dtype, chunk_size)
        self.register_buffer("start", self.inward(codebook))
        self.register_buffer("unit", torch.ones_like(self.start))
        self.offsets = nn.Parameter(torch.zeros_like(self.start))
        self.log_precision = None
        if covariances is not None:
            self.log_precision = nn.Parameter(-torch.as_tensor(np.asarray(covariances), dtype=dtype).log())
            self.unit = (-self.log_precision.detach() / 2).exp()
        log_gamma = np.log(gamma) + 2 * np.log(self.double_scale)
        self.log_gamma = nn.Parameter(torch.tensor(float(log_gamma), dtype=dtype), requires_grad=learn_gamma)

    @property
    def codebook(self):
        return self.start + self.unit * self.offsets

    def scores(self):
        """−γ (f − C)ᵀ Σ⁻¹ (f − C), without the f² term that the identity gives every codeword alike."""
        sharpest = np.log(torch.finfo(self.log_gamma.dtype).max) / 2  # hard long before, and no product overflows
        gamma, codebook = self.log_gamma.clamp(max=sharpest).exp(), self.codebook
        if self.log_precision is None:
            weight, bias = 2 * gamma * codebook, -gamma * (codebook * codebook).sum(1)
        else:
            precision = gamma * self.log_precision.exp()
            weight = torch.cat([2 * precision * codebook, -precision], dim=1)
            bias = -(precision * codebook * codebook).sum(1)
        return Scores(weight.T.contiguous(), bias, self.shift, self.scale)

    def forward(self, bags):
        (mass,) = soft_moments(*bags, self.scores(), order=0, chunk_size=self.chunk_size)
        return mass / counts(bags, mass)

    def export(self):
        """Codebook, covariances and gamma in the data's own units."""
        state = {"codebook": self.outward(self.codebook), "gamma": self._gamma()}
        if self.log_precision is not None:
            state["covariances"] = (-self.log_precision.detach()).exp().cpu().numpy()
        return state

    def _gamma(self):
        return float(np.exp(float(self.log_gamma.detach()) - 2 * np.log(self.double_scale)))


class SoftVLAD(SoftBagOfWords):
    """T2 of the paper, eq. 9: the mean of q_k(f) (f - C_k), flattened to (n, k d) and normalised."""

    def __init__(self, *args, normalization=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.normalization = normalization

    def forward(self, bags):
        mass, sums = soft_moments(*bags, self.scores(), order=1, chunk_size=self.chunk_size)
        residuals = (sums - mass[:, :, None] * self.codebook) / counts(bags, mass)[:, :, None]
        return normalize_vlad(residuals, self.normalization, self.scale)


class SoftFisherVector(BagEncoder):
    """Gradients of the log-likelihood of a mixture to means and deviations (Perronnin et al. 2010): (n, 2 k d).

    With ``improved``, the signed square root and L2 normalisation follow. ``weight_terms`` puts the k derivatives
    to the mixing weights before them. Means move in units of their Gaussians' deviations at the start: where a feature
    hardly varies, a step in units of all the data would throw its means far outside of it.
    """

    def __init__(self, mixture, units, *, dtype, improved=True, weight_terms=False, chunk_size=None):
        super().__init__(units, dtype, chunk_size)
        weights, means, variances = (np.asarray(part, dtype=np.float64) for part in mixture)
        tiny = np.finfo(np.float64).tiny
        # Gaussians that no descriptor is left to weigh nothing, and gradients are divided by √w³
        self.log_weights = nn.Parameter(
            torch.as_tensor(np.log(np.maximum(weights, torch.finfo(dtype).eps)), dtype=dtype)
        )
        log_variances = np.log(np.maximum(variances, tiny)) - 2 * np.log(self.double_scale)
        self.log_variances = nn.Parameter(torch.as_tensor(log_variances, dtype=dtype))
        self.register_buffer("start", self.inward(means))
        self.register_buffer("unit", (self.log_variances.detach() / 2).exp())
        self.offsets = nn.Parameter(torch.zeros_like(self.start))
        self.improved, self.weight_terms = improved, weight_terms

    def mixture(self):
        means = self.start + self.unit * self.offsets
        return Mixture(torch.softmax(self.log_weights, 0), means, self.log_variances.exp())

    def forward(self, bags):
        mixture = self.mixture()
        scores = mixture_scores(mixture, self.shift, self.scale)
        moments = soft_moments(*bags, scores, order=2, chunk_size=self.chunk_size)
        vectors = _fisher(*moments, counts(bags, scores.bias, floor=0), mixture, self.weight_terms)
        return F.normalize(power_normalize(vectors), dim=1) if self.improved else vectors

    def export(self):
        return {
            "weights": torch.softmax(self.log_weights.detach().double(), 0).to(self.shift.dtype).cpu().numpy(),
            "means": self.outward(self.mixture().means),
            # float64 whatever the data: the squares of float32 do not fit into float32
            "covariances": (self.log_variances.detach().cpu().double() + 2 * np.log(self.double_scale)).exp().numpy(),
        }


class MeanEncoder(nn.Module):
    """R = mean of T(f) for any module T: (rows, d) -> (rows, D); chunked, recomputed in the backward pass.

    What T draws from torch's global generators in training is seeded by ``generator``.
    """

    generator: torch.Generator | None = None

    def __init__(self, transform, units, dtype, chunk_size=None):
        super().__init__()
        self.transform = transform
        self.units, self.dtype = units, dtype
        self.chunk_size = chunk_size or 1 << 14

    def prepare(self, bags, device):
        """Bags in own units on the device, which every pass over them then takes as they are."""
        values = standardize(bags.values.to(device), self.units.shift, self.units.scale, self.dtype)
        return Bags(values, bags.offsets)

    def forward(self, bags):
        values, offsets = bags
        n = len(offsets) - 1
        ids = torch.repeat_interleave(
            torch.arange(n, device=values.device), torch.as_tensor(np.diff(offsets), device=values.device)
        )
        total = None
        for start in range(0, len(values), self.chunk_size):
            x = values[start : start + self.chunk_size].to(self.dtype)
            seed = draw_seed(self.generator if self.training else None)
            # preserve_rng_state would read the global generator: the forward pass is repeated under our own seed
            out = checkpoint(self._transform, x, seed, use_reentrant=False, preserve_rng_state=False)
            total = out.new_zeros(n, out.shape[1]) if total is None else total
            total = total.index_add(0, ids[start : start + self.chunk_size], out)
        if total is None:
            out = self._transform(torch.zeros(1, values.shape[1], dtype=self.dtype, device=values.device), 0)
            total = out.new_zeros(n, out.shape[1])
        return total / counts(bags, total)

    def _transform(self, x, seed):
        with borrowed_generators(seed, x.device):
            return self.transform(x)


def counts(bags, like, floor=1):
    """Descriptors of each bag, at least ``floor``: (n, 1)."""
    return torch.as_tensor(np.maximum(np.diff(bags.offsets), floor), dtype=like.dtype, device=like.device)[:, None]


def _fisher(mass, first, second, count, mixture, weight_terms):
    """Σ q z / √w and Σ q (z² - 1) / √(2w) over ``count`` (n, 1), z = (x - μ) / σ, from the sums S0, S1 and S2.

    Each line is a pass over (n, k, d), which for small bags take longer than the sums do: so they are few.
    """
    weights, means, variances = mixture
    root = weights.clamp(min=torch.finfo(weights.dtype).tiny).sqrt()[:, None]
    m = mass[:, :, None]
    to_means = torch.addcmul(first, m, means, value=-1).mul_(1 / (variances.sqrt() * root))
    to_deviations = torch.addcmul(second, first, means, value=-2).addcmul_(m, means * means - variances)
    to_deviations.mul_(1 / (2**0.5 * variances * root))
    blocks = [to_means.flatten(1), to_deviations.flatten(1)]
    if weight_terms:
        blocks.insert(0, (mass - count * weights) / root[:, 0])
    return torch.cat(blocks, dim=1).div_(count.clamp(min=1))


def power_normalize(x):
    """sign(x) √|x|, continued by a straight line below 1e-6 so that its gradient stays finite."""
    return x * x.abs().clamp_(min=_SMALL).rsqrt_()


def normalize_vlad(residuals, normalization, scale):
    """(n, k, d) in own units -> (n, k d): None gives data units, the others have no unit."""
    if normalization is None:
        return (residuals * scale).flatten(1)
    # what is left of two equal numbers is rounding; normalised, it would look like a direction
    noise = 32 * torch.finfo(residuals.dtype).eps
    residuals = torch.where(residuals.abs() > noise, residuals, torch.zeros_like(residuals))
    if normalization == "intra":
        residuals = F.normalize(residuals, dim=2)
    flat = residuals.flatten(1)
    if normalization == "power":
        flat = power_normalize(flat)
    return F.normalize(flat, dim=1)
