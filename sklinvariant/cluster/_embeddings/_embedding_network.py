"""The module that the clusterers of embeddings train: heads on the directions of feature spaces that do not change."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import nn

from sklinvariant._settings import in_own_precision
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.ops import chunk_share, unit_length

_MOST_DIRECTIONS = 128
_FEWEST_DIRECTIONS = 10  # with fewer, the length of a row says more than its direction
_LEAST_VARIANCE = 1e-6  # of the largest
_AT_ONCE = 1 << 14  # rows


class Space(nn.Module):
    """A feature space: some columns of the rows, scaled, rotated to principal axes, partly whitened, of unit length.

    The buffers are ``columns`` (m,), ``shift`` (m,), ``scale`` () or (m,), ``roots`` () and ``axes`` (m, p). Features
    have a mean square of about 1. With fewer than 10 principal axes, rows keep their lengths and proportions.
    """

    columns: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    roots: torch.Tensor
    axes: torch.Tensor

    def __init__(self, **buffers: torch.Tensor) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.takes_roots = bool(buffers["roots"])  # not read in `forward`, because a graph cannot depend on values

    @classmethod
    def of(cls, rows: torch.Tensor, columns: torch.Tensor, scaling: Scaling, whitening: float) -> Self:
        """The space of these columns of the rows (n, d), with principal axes of all rows.

        Coordinates are divided by their standard deviations to the power of ``whitening``, if there are at least 10.
        """
        scatter: Any = sum(
            z.T @ z
            for part in rows.split(chunk_share(_AT_ONCE))
            for z in [scaling(part.index_select(1, columns)).double()]
        )
        variances, axes = np.linalg.eigh(scatter.cpu().numpy() / len(rows))
        variances, axes = variances[::-1], axes[:, ::-1]
        kept = max(1, int((variances > _LEAST_VARIANCE * variances[0]).sum()))
        variances, axes = variances[:kept][:_MOST_DIRECTIONS], axes[:, :kept][:, :_MOST_DIRECTIONS]
        largest = np.abs(axes).argmax(0)
        axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])  # so that signs do not depend on the machine
        deviations = np.sqrt(np.maximum(variances, 0))
        deviations[deviations == 0] = 1
        axes = axes / (deviations**whitening if kept >= _FEWEST_DIRECTIONS else np.sqrt(np.mean(deviations**2)))
        buffers = {"shift": scaling.shift, "scale": scaling.scale, "axes": torch.tensor(axes).to(rows)}
        return cls(columns=columns, roots=torch.tensor(scaling.roots, device=rows.device), **buffers)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n, p)."""
        scaling = Scaling(self.shift, self.scale, self.takes_roots)
        z = scaling(rows.index_select(1, self.columns)) @ self.axes
        p = z.shape[1]
        return z if p < _FEWEST_DIRECTIONS else unit_length(z) * p**0.5


class EmbeddingNetwork(nn.Module):
    """Base of the networks, whose ``forward`` returns the loss of a batch, and which keep the mean loss of each head.

    A subclass has ``heads``, with a method ``scores`` that maps features (n, P) to logits (n, h, k).
    """

    heads: Any
    losses: torch.Tensor

    def __init__(self, spaces: list[Space], n_heads: int) -> None:
        super().__init__()
        self.spaces = nn.ModuleList(spaces)
        self.register_buffer("losses", torch.zeros(n_heads, dtype=torch.float32, device="cpu"))

    @classmethod
    def restored_spaces(cls, weights: dict[str, np.ndarray]) -> list[Space]:
        """The spaces in the weights of a network. They are copied, because they may be mapped from a file."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in weights.items():
            if name.startswith("spaces."):
                _, number, buffer = name.split(".")
                found.setdefault(number, {})[buffer] = torch.tensor(np.asarray(value))
        return [Space(**found[number]) for number in sorted(found, key=int)]

    @property
    def sizes(self) -> list[int]:
        """The numbers of features of the spaces, whose sum is P."""
        return [space.axes.shape[1] for space in self.spaces]  # type: ignore[union-attr, index, misc]

    @torch.no_grad()
    @in_own_precision
    def features(self, rows: torch.Tensor) -> torch.Tensor:
        """Features (n, P) of all spaces."""
        return torch.cat([space(rows) for space in self.spaces], 1)

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """(n, P) -> (n, h, k)."""
        return self.heads.scores(features).softmax(-1)

    def start(self) -> None:
        """Called when the heads have their initial weights, before the first step."""

    @torch.no_grad()
    def note(self, losses: torch.Tensor, share: float = 0.05) -> None:
        """Update the running means of the losses (h,) of a batch."""
        self.losses.lerp_(losses.detach().to(self.losses), share)


class HeadProbabilities(nn.Module):
    """The probabilities (n, k) that one head gives to rows (n, d), as a module that can be exported."""

    def __init__(self, network: EmbeddingNetwork, head: int) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.network.probabilities(self.network.features(rows))[:, self.head]
