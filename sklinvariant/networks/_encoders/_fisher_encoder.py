"""The encoder with a Gaussian mixture: Fisher vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant._docstrings import documented_by
from sklinvariant.networks._encoders._bags import BagEncoder, Bags, EqualBags, Units
from sklinvariant.networks._encoders._normalization import power_normalize
from sklinvariant.ops import Mixture, mixture_scores


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

    def forward(self, bags: Bags | EqualBags) -> torch.Tensor:
        """The Fisher vectors of bags.

        Parameters
        ----------
        bags : Bags or EqualBags
            The descriptors of n bags, in their own units.

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
