"""Encoders with a codebook: soft bag of words and soft VLAD."""

from typing import Any

import numpy as np
import torch
from torch import nn

from sklinvariant._docstrings import documented_by
from sklinvariant.networks._encoders._bags import BagEncoder, Bags, EqualBags, Units
from sklinvariant.networks._encoders._normalization import normalize_vlad
from sklinvariant.ops import Scores


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
