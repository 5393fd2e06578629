"""The network of the sparse autoencoder, with one hidden layer (Ng 2011, "Sparse autoencoder", CS294A notes)."""

from typing import Self

import torch
from torch import nn

from sklinvariant._distributed import whole_mean

_AT_ONCE = 8192  # rows whose squares are in memory at a time


def kl_sparsity(mean: torch.Tensor, target: float) -> torch.Tensor:
    """Σ_j KL(ρ ‖ ρ̂_j) between Bernoulli variables with mean ρ and with means ρ̂ (k,): 0 if all means are ρ."""
    eps = torch.finfo(mean.dtype).eps
    mean = mean.clamp(eps, 1 - eps)
    return (target * (target / mean).log() + (1 - target) * ((1 - target) / (1 - mean)).log()).sum()


class SparseAutoencoderNetwork(nn.Module):
    """An autoencoder whose ``forward`` returns J = ½ mean ‖x̂ - x‖² / s² + ½ α (‖W‖² + ‖V‖²) + β Σ_j KL(ρ ‖ ρ̂_j).

    For rows x (n, d), ``h = σ(x Wᵀ / s + b)`` with W (k, d), and ``x̂ = s (h V + c)`` with V (k, d), or ``σ(h V + c)``.
    ρ̂_j is the mean of h_j over the rows. Without ``decoder_weight``, V is W. The spread s is the unit of the rows.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        hidden_bias: torch.Tensor,
        visible_bias: torch.Tensor,
        decoder_weight: torch.Tensor | None = None,
        *,
        spread: float = 1.0,
        sigmoid_decoder: bool = False,
        sparsity: float = 0.05,
        sparsity_weight: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.hidden_bias = nn.Parameter(hidden_bias)
        self.visible_bias = nn.Parameter(visible_bias)
        self.decoder_weight = self.weight if decoder_weight is None else nn.Parameter(decoder_weight)
        self.spread, self.sigmoid_decoder = spread, sigmoid_decoder
        self.sparsity, self.sparsity_weight, self.weight_decay = sparsity, sparsity_weight, weight_decay

    @classmethod
    def start(
        cls,
        rows: torch.Tensor,
        n_components: int,
        generator: torch.Generator,
        *,
        tied: bool = False,
        sigmoid_decoder: bool = False,
        sparsity: float = 0.05,
        **penalties: float,
    ) -> Self:
        """Create a network with small uniform weights, mean activation ``sparsity`` and the mean row as output.

        The spread is the square root of the mean variance of the features of the rows (n, d).
        """
        mean, d = rows.mean(0), rows.shape[1]
        squares = sum((part - mean).square().sum(dtype=torch.float64) for part in rows.split(_AT_ONCE))
        spread = float((squares / rows.numel()).sqrt()) or 1.0
        bound = (6 / (d + n_components + 1)) ** 0.5  # as in Ng's notes, after Glorot & Bengio

        def draw():
            uniform = torch.rand(n_components, d, generator=generator, dtype=torch.float64)
            return ((2 * uniform - 1) * bound).to(mean)

        hidden_bias = torch.logit(mean.new_full((n_components,), sparsity))
        visible_bias = torch.logit(mean, eps=0.01) if sigmoid_decoder else mean / spread
        weight = draw()
        return cls(
            weight,
            hidden_bias,
            visible_bias,
            None if tied else draw(),
            spread=spread,
            sigmoid_decoder=sigmoid_decoder,
            sparsity=sparsity,
            **penalties,
        )

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations in 0-1: (n, d) -> (n, k)."""
        return torch.addmm(self.hidden_bias, x, self.weight.T, alpha=1 / self.spread).sigmoid()

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """Reconstructed rows: (n, k) -> (n, d)."""
        x = torch.addmm(self.visible_bias, h, self.decoder_weight)
        return x.sigmoid() if self.sigmoid_decoder else x * self.spread

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.encode(x)
        loss = whole_mean((self.decode(h) - x).square().sum(1).mean()) / (2 * self.spread**2)
        if self.weight_decay:
            loss = loss + self.weight_decay / 2 * (self.weight.square().sum() + self.decoder_weight.square().sum())
        if self.sparsity_weight:
            loss = loss + self.sparsity_weight * kl_sparsity(whole_mean(h.mean(0)), self.sparsity)
        return loss


class EncodedRows(nn.Module):
    """The activations of rows, as a module."""

    def __init__(self, network: SparseAutoencoderNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.encode(x)
