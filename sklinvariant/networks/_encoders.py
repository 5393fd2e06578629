"""Encoders of bags of descriptors, R(F; Θ) = mean of T(f; Θ) (Katharopoulos et al. 2017, eq. 1).

Parameters refer to standardised data, ``(x - shift) / scale``, so that one learning rate works for descriptors of
magnitude 1e-12 and 1e12. ``export`` returns them in the original units of the data.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sklinvariant._distributed import own_number
from sklinvariant._docstrings import documented_by
from sklinvariant._settings import borrowed_generators, draw_seed
from sklinvariant.ops import Mixture, Scores, equal_moments, mixture_scores, soft_moments, standardize, take_rows

_SMALL = 1e-6  # below this value power normalisation is linear, so that its gradient is finite


class Bags(NamedTuple):
    """The input of every encoder: the descriptors of n bags, one bag after the other.

    Parameters
    ----------
    values : tensor of shape (N, d)
        The descriptors of all bags.
    offsets : numpy array of shape (n + 1,)
        Start of each bag: bag i has the descriptors ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: torch.Tensor
    offsets: np.ndarray

    @documented_by(soft_moments)
    def moments(self, scores: Scores, order: int, chunk_size: int | None) -> tuple[torch.Tensor, ...]:
        """The sums of soft assignments over each bag, as from `sklinvariant.ops.soft_moments`.

        Returns
        -------
        tuple of ``order + 1`` tensors of shape (n, k), (n, k, d) and (n, k, d)
        """
        return soft_moments(self.values, self.offsets, scores, order=order, chunk_size=chunk_size)

    @documented_by(take_rows)
    def counts(self, like: torch.Tensor, floor: int = 1) -> torch.Tensor:
        """Number of descriptors of each bag.

        Parameters
        ----------
        floor : int, default=1
            Smallest result, which an empty bag gets.

        Returns
        -------
        tensor of shape (n, 1)
        """
        sizes = np.maximum(np.diff(self.offsets), floor)
        return torch.as_tensor(sizes, dtype=like.dtype, device=like.device)[:, None]


@documented_by(equal_moments)
class EqualBags(NamedTuple):
    """Bags of equal size, of which plain tensor operations compute everything at once.

    For modules that are compiled or exported.

    Parameters
    ----------
    values : tensor of shape (n, m, d)
        The m descriptors of each bag.
    """

    values: torch.Tensor
    hard: bool = False

    @documented_by(Bags.moments)
    def moments(self, scores: Scores, order: int, chunk_size: int | None = None) -> tuple[torch.Tensor, ...]:
        """The sums of soft assignments over each bag, as from `sklinvariant.ops.equal_moments`.

        Parameters
        ----------
        chunk_size : int or None, default=None
            Ignored: all descriptors are processed at once.

        Returns
        -------
        tuple of tensors
            As many as ``order + 1``, of shape (n, k), (n, k, d) and (n, k, d).
        """
        return equal_moments(self.values, scores, order, hard=self.hard)

    @documented_by(Bags.counts)
    def counts(self, like: torch.Tensor, floor: int = 1) -> torch.Tensor:
        """Number of descriptors of each bag, which is never 0.

        Parameters
        ----------
        floor : int, default=1
            Ignored: no bag is empty.

        Returns
        -------
        tensor of shape (1, 1)
        """
        return like.new_full((1, 1), self.values.shape[1])


class Units(NamedTuple):
    """The location and the spread of the data, by which descriptors x become ``(x - shift) / scale``.

    Parameters
    ----------
    shift : numpy array of shape (d,)
        The location, such as the mean of the descriptors.
    scale : float
        The spread, one number for all features.
    """

    shift: np.ndarray
    scale: float


class BagEncoder(nn.Module):
    """Base of the encoders: the units and the chunk size.

    Parameters
    ----------
    units : Units
        Location and spread of the descriptors. Parameters are learned in these units.
    dtype : torch.dtype
        Precision of the parameters and of the result.
    chunk_size : int or None
        Number of descriptors processed at a time, which bounds the memory. None chooses a chunk that fits into the
        cache.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, units: Units, dtype: torch.dtype, chunk_size: int | None = None) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(np.asarray(units.shift), dtype=dtype))
        self.register_buffer("scale", torch.as_tensor(units.scale, dtype=dtype))
        self.double_scale = float(units.scale)
        self.chunk_size = chunk_size

    def prepare(self, bags: Bags, device: str | torch.device) -> Bags:
        """The bags as ``forward`` expects them: unchanged, because it loads them chunk by chunk.

        Parameters
        ----------
        bags : Bags
            The bags.
        device : str or torch.device
            Device of the encoder.

        Returns
        -------
        Bags
        """
        return bags

    def inward(self, x: np.ndarray) -> torch.Tensor:
        """Convert from the units of the data to standardised units.

        The difference is computed in double precision, and the result has the precision of the parameters.

        Parameters
        ----------
        x : array of shape (k, d)
            Codewords in the units of the data.

        Returns
        -------
        tensor of shape (k, d)
        """
        values = torch.tensor(np.asarray(x, dtype=np.float64))  # copied, because it may be mapped from a file
        return ((values - self.shift.double().cpu()) / self.double_scale).to(self.shift.dtype)

    def outward(self, x: torch.Tensor) -> np.ndarray:
        """Convert from standardised units to the units of the data, as `inward` does.

        Parameters
        ----------
        x : tensor of shape (k, d)
            Codewords in standardised units.

        Returns
        -------
        array of shape (k, d)
        """
        x = x.detach().double() * self.double_scale + self.shift.double()
        return x.to(self.shift.dtype).cpu().numpy()


@documented_by(BagEncoder)
class SoftBagOfWords(BagEncoder):
    r"""The encoder of `LearnedBoW`: soft assignments of descriptors to codewords, averaged over each bag.

    For the m descriptors f of a bag and codewords C with covariances Σ (equations 6-8 of Katharopoulos et al. 2017),

    .. math:: R_k = \frac{1}{m} \sum_n q_k(f_n), \qquad
        q_k(f) \propto \exp(-\gamma (f - C_k)^T \Sigma_k^{-1} (f - C_k))

    where the assignments q of a descriptor sum to 1 over the codewords.

    Parameters
    ----------
    codebook : array of shape (k, d)
        Initial codewords C, in the units of the descriptors.
    covariances : array of shape (k, d) or None
        Initial diagonals of Σ, without unit. None keeps the identity.
    gamma : float
        Initial γ, in 1 / squared units of the descriptors.
    learn_gamma : bool, default=False
        Whether γ is learned.

    Notes
    -----
    Codewords are parametrised in units of the initial :math:`\sqrt{\Sigma}`: if a feature of a codeword hardly varies,
    a larger step would move the codeword too far.
    """

    start: torch.Tensor
    unit: torch.Tensor
    log_precision: nn.Parameter | None

    def __init__(
        self,
        codebook: np.ndarray,
        covariances: np.ndarray | None,
        gamma: float,
        units: Units,
        *,
        dtype: torch.dtype,
        learn_gamma: bool = False,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(units, dtype, chunk_size)
        self.register_buffer("start", self.inward(codebook))
        self.register_buffer("unit", torch.ones_like(self.start))
        self.offsets = nn.Parameter(torch.zeros_like(self.start))
        self.log_precision = None
        if covariances is not None:
            self.log_precision = nn.Parameter(-torch.tensor(np.asarray(covariances), dtype=dtype).log())
            self.unit = (-self.log_precision.detach() / 2).exp()
        log_gamma = np.log(gamma) + 2 * np.log(self.double_scale)
        self.log_gamma = nn.Parameter(torch.tensor(float(log_gamma), dtype=dtype), requires_grad=learn_gamma)

    @property
    def codebook(self) -> torch.Tensor:
        """Codewords (k, d) in standardised units."""
        return self.start + self.unit * self.offsets

    def scores(self) -> Scores:
        """The logarithms of the assignments q before their softmax, up to a term that is the same for all codewords.

        Returns
        -------
        sklinvariant.ops.Scores
        """
        sharpest = np.log(torch.finfo(self.log_gamma.dtype).max) / 2  # prevents overflow
        gamma, codebook = self.log_gamma.clamp(max=sharpest).exp(), self.codebook
        if self.log_precision is None:
            weight, bias = 2 * gamma * codebook, -gamma * (codebook * codebook).sum(1)
        else:
            precision = gamma * self.log_precision.exp()
            weight = torch.cat([2 * precision * codebook, -precision], dim=1)
            bias = -(precision * codebook * codebook).sum(1)
        return Scores(weight.T.contiguous(), bias, self.shift, self.scale)

    def forward(self, bags: Bags | EqualBags) -> torch.Tensor:
        """The mean assignments of each bag.

        Parameters
        ----------
        bags : Bags or EqualBags
            The descriptors of n bags, in their own units.

        Returns
        -------
        tensor of shape (n, k)
        """
        (mass,) = bags.moments(self.scores(), order=0, chunk_size=self.chunk_size)
        return mass / bags.counts(mass)

    def export(self) -> dict[str, Any]:
        """The parameters in the units of the data.

        Returns
        -------
        dict of "codebook" (k, d), "gamma" and, if there are any, "covariances" (k, d)
        """
        state = {"codebook": self.outward(self.codebook), "gamma": self._gamma()}
        if self.log_precision is not None:
            state["covariances"] = (-self.log_precision.detach()).exp().cpu().numpy()
        return state

    def _gamma(self):
        return float(np.exp(float(self.log_gamma.detach()) - 2 * np.log(self.double_scale)))


@documented_by(SoftBagOfWords)
class SoftVLAD(SoftBagOfWords):
    r"""The encoder of `LearnedVLAD`: residuals of descriptors to codewords, averaged over each bag.

    With the soft assignments q of `SoftBagOfWords` (equation 9 of Katharopoulos et al. 2017),

    .. math:: R_k = \frac{1}{m} \sum_n q_k(f_n) (f_n - C_k)

    Parameters
    ----------
    normalization : {"l2", "power", "intra"} or None, default=None
        "l2" divides R by its norm; "power" takes signed square roots before; "intra" normalises the residual of each
        codeword before. None returns R in the units of the descriptors.
    """

    def __init__(
        self,
        codebook: np.ndarray,
        covariances: np.ndarray | None,
        gamma: float,
        units: Units,
        *,
        dtype: torch.dtype,
        learn_gamma: bool = False,
        chunk_size: int | None = None,
        normalization: str | None = None,
    ) -> None:
        super().__init__(
            codebook, covariances, gamma, units, dtype=dtype, learn_gamma=learn_gamma, chunk_size=chunk_size
        )
        self.normalization = normalization

    @documented_by(SoftBagOfWords.forward)
    def forward(self, bags: Bags | EqualBags) -> torch.Tensor:
        """The mean residuals of each bag, normalised.

        Returns
        -------
        tensor of shape (n, k d)
        """
        mass, sums = bags.moments(self.scores(), order=1, chunk_size=self.chunk_size)
        residuals = (sums - mass[:, :, None] * self.codebook) / bags.counts(mass)[:, :, None]
        return normalize_vlad(residuals, self.normalization, self.scale)


@documented_by(BagEncoder)
class SoftFisherVector(BagEncoder):
    """The encoder of `LearnedFisherVector`: the gradient of the log-likelihood of a Gaussian mixture at each bag.

    The representation is that of `FisherVector`, with weights, means and variances that can be learned.

    Parameters
    ----------
    mixture : Mixture or sequence of three arrays
        Initial weights (k,), means (k, d) and variances (k, d), in the units of the descriptors.
    improved : bool, default=True
        Whether to take signed square roots and divide by the L2 norm, as the improved Fisher vector does.
    weight_terms : bool, default=False
        Whether to prepend the k derivatives with respect to the mixing weights.

    Notes
    -----
    Means are parametrised in units of the initial deviations of their Gaussians: if a feature hardly varies, a step in
    units of all data would move the means far outside the data.
    """

    start: torch.Tensor
    unit: torch.Tensor

    def __init__(
        self,
        mixture: Sequence[np.ndarray] | Mixture,
        units: Units,
        *,
        dtype: torch.dtype,
        improved: bool = True,
        weight_terms: bool = False,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(units, dtype, chunk_size)
        weights, means, variances = (np.asarray(part, dtype=np.float64) for part in mixture)
        tiny = np.finfo(np.float64).tiny
        # Gaussians without descriptors have weight 0, but gradients are divided by √w³
        self.log_weights = nn.Parameter(
            torch.as_tensor(np.log(np.maximum(weights, torch.finfo(dtype).eps)), dtype=dtype)
        )
        log_variances = np.log(np.maximum(variances, tiny)) - 2 * np.log(self.double_scale)
        self.log_variances = nn.Parameter(torch.as_tensor(log_variances, dtype=dtype))
        self.register_buffer("start", self.inward(means))
        self.register_buffer("unit", (self.log_variances.detach() / 2).exp())
        self.offsets = nn.Parameter(torch.zeros_like(self.start))
        self.improved, self.weight_terms = improved, weight_terms

    def mixture(self) -> Mixture:
        """The mixture in standardised units.

        Returns
        -------
        sklinvariant.ops.Mixture
        """
        means = self.start + self.unit * self.offsets
        return Mixture(torch.softmax(self.log_weights, 0), means, self.log_variances.exp())

    @documented_by(SoftBagOfWords.forward)
    def forward(self, bags: Bags | EqualBags) -> torch.Tensor:
        """The Fisher vectors of bags.

        Returns
        -------
        tensor of shape (n, 2 k d) or (n, k + 2 k d)
            The latter with ``weight_terms``.
        """
        mixture = self.mixture()
        scores = mixture_scores(mixture, self.shift, self.scale)
        moments = bags.moments(scores, order=2, chunk_size=self.chunk_size)
        vectors = _fisher(*moments, bags.counts(scores.bias, floor=0), mixture, self.weight_terms)  # type: ignore[call-arg]
        return F.normalize(power_normalize(vectors), dim=1) if self.improved else vectors

    def export(self) -> dict[str, Any]:
        """The mixture in the units of the data.

        Returns
        -------
        dict of "weights" (k,), "means" (k, d) and "covariances" (k, d)
        """
        return {
            "weights": torch.softmax(self.log_weights.detach().double(), 0).to(self.shift.dtype).cpu().numpy(),
            "means": self.outward(self.mixture().means),
            # float64 whatever the data: the squares of float32 do not fit into float32
            "covariances": (self.log_variances.detach().cpu().double() + 2 * np.log(self.double_scale)).exp().numpy(),
        }


@documented_by(BagEncoder)
class MeanEncoder(nn.Module):
    r"""The encoder of `LearnedAggregation`: the mean of any module T over the descriptors of each bag.

    For the m descriptors f of a bag,

    .. math:: R = \frac{1}{m} \sum_n T(f_n)

    T is computed in chunks, which the backward pass computes again.

    Parameters
    ----------
    transform : torch.nn.Module
        The module T, which maps standardised descriptors (rows, d) to features (rows, D).
    chunk_size : int or None, default=None
        Number of descriptors processed at a time, which bounds the memory. None is 16384.

    Attributes
    ----------
    generator : torch.Generator or None
        Seeds torch's global generators for the random numbers that T draws during training. None seeds them with 0.
    """

    generator: torch.Generator | None = None

    def __init__(
        self,
        transform: nn.Module,
        units: Units,
        dtype: torch.dtype,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.units, self.dtype = units, dtype
        self.chunk_size = chunk_size or 1 << 14

    def export(self) -> dict[str, Any]:
        """The parameters and buffers of T.

        Returns
        -------
        dict of "encoder", a dict of arrays by name
        """
        return {"encoder": {name: value.cpu().numpy() for name, value in self.transform.state_dict().items()}}

    @documented_by(BagEncoder.prepare)
    def prepare(self, bags: Bags, device: str | torch.device) -> Bags:
        """The standardised bags on the device, ready for every pass over them.

        Returns
        -------
        Bags of standardised descriptors
        """
        values = standardize(bags.values.to(device), self.units.shift, self.units.scale, self.dtype)
        return Bags(values, bags.offsets)

    def forward(self, bags: Bags | EqualBags) -> torch.Tensor:
        """The means of T over each bag.

        Parameters
        ----------
        bags : Bags or EqualBags
            The result of `prepare`, or `EqualBags` in their own units.

        Returns
        -------
        tensor of shape (n, D)
        """
        if isinstance(bags, EqualBags):
            return self._mean_of_equal(bags.values)
        values, offsets = bags
        n = len(offsets) - 1
        ids = torch.repeat_interleave(
            torch.arange(n, device=values.device), torch.as_tensor(np.diff(offsets), device=values.device)
        )
        total = None
        for start in range(0, len(values), self.chunk_size):
            x = values[start : start + self.chunk_size].to(self.dtype)
            seed = draw_seed(self.generator if self.training else None) + own_number()
            # preserve_rng_state would read the global generator; the repeated forward pass uses the same seed instead
            out = checkpoint(self._transform, x, seed, use_reentrant=False, preserve_rng_state=False)
            total = out.new_zeros(n, out.shape[1]) if total is None else total
            total = total.index_add(0, ids[start : start + self.chunk_size], out)
        if total is None:
            out = self._transform(torch.zeros(1, values.shape[1], dtype=self.dtype, device=values.device), 0)
            total = out.new_zeros(n, out.shape[1])
        return total / bags.counts(total)

    def _mean_of_equal(self, values):
        rows = (values - torch.as_tensor(self.units.shift).to(values)) / self.units.scale
        return self.transform(rows.flatten(0, 1)).unflatten(0, values.shape[:2]).mean(1)

    def _transform(self, x, seed):
        with borrowed_generators(seed, x.device):
            return self.transform(x)


def _fisher(mass, first, second, count, mixture, weight_terms):
    """Σ q z / √w and Σ q (z² - 1) / √(2w) over ``count`` (n, 1), z = (x - μ) / σ, from the sums S0, S1 and S2.

    Each line is a pass over (n, k, d). For small bags these passes dominate the run time, so their number is minimal.
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


def power_normalize(x: torch.Tensor) -> torch.Tensor:
    """sign(x) √|x|, linear below 1e-6 so that the gradient is finite."""
    return x * x.abs().clamp_(min=_SMALL).rsqrt_()


def normalize_vlad(residuals: torch.Tensor, normalization: str | None, scale: float | torch.Tensor) -> torch.Tensor:
    """Flatten and normalise residuals (n, k, d) in standardised units.

    Parameters
    ----------
    residuals : tensor of shape (n, k, d)
        Mean residuals of each bag and codeword.
    normalization : {"l2", "power", "intra"} or None
        What is normalised, as in `SoftVLAD`. None returns the residuals in the units of the data.
    scale : float or tensor
        The spread of the data.

    Returns
    -------
    tensor of shape (n, k d)
    """
    if normalization is None:
        return (residuals * scale).flatten(1)
    # the difference of two equal numbers may be a rounding error, which normalisation would turn into a direction
    noise = 32 * torch.finfo(residuals.dtype).eps
    residuals = torch.where(residuals.abs() > noise, residuals, torch.zeros_like(residuals))
    if normalization == "intra":
        residuals = F.normalize(residuals, dim=2)
    flat = residuals.flatten(1)
    if normalization == "power":
        flat = power_normalize(flat)
    return F.normalize(flat, dim=1)
