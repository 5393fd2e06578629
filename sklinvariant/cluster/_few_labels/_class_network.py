"""The module that `IICClassifier` trains: a trunk and a linear model of the classes on its features and on the rows."""

from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklinvariant.base import load_arrays
from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.images import scale_pixels
from sklinvariant.networks import LinearLoss

_ROW_SHARE = 0.5  # norm of the rows that are appended to the features, relative to the norm of the features


class ClassNetwork(nn.Module):
    """A classifier whose ``forward`` returns the mean weighted log-loss of a batch.

    A batch has ``samples`` (b, ...), ``target`` and ``weight``. ``trunk`` is a `ClusterNetwork`, whose heads are
    removed; ``head`` is a `LinearLoss`. With a ``row_gain``, the linear model is also given the rows, scaled as those
    of the trunk and multiplied by it. Batch normalisation keeps the means and variances of all samples, because those
    of a few labelled samples would be too noisy.
    """

    head: LinearLoss

    def __init__(self, trunk: ClusterNetwork, head: Any = None, row_gain: float | None = None) -> None:
        super().__init__()
        trunk.heads = trunk.auxiliary = None
        self.trunk, self.head, self.row_gain = trunk, head, row_gain

    @torch.no_grad()
    def append_rows(self, x: torch.Tensor) -> None:
        """From now on append the rows to the features, with half the root mean square norm over the rows (n, d)."""
        rows, features = (
            float(z.double().square().sum(1).mean().sqrt()) for z in (self.trunk.scaling(x), self.features(x))
        )
        self.row_gain = _ROW_SHARE * features / rows if rows > 0 < features else 1.0

    @classmethod
    def restore(cls, trunk: ClusterNetwork, state: dict[str, Any], weight_decay: float) -> Self:
        """The module from the state that `export` returned; ``trunk`` gives everything that was not trained."""
        network = cls(trunk, row_gain=state.get("row_gain"))  # models saved by earlier versions have none
        load_arrays(trunk.trunk, state["trunk"])
        network.head = LinearLoss.restore(state, "log_loss", weight_decay, trunk.shift.dtype).to(trunk.shift.device)
        return network.eval()

    def export(self) -> dict[str, Any]:
        """The fitted state: numpy arrays and plain values."""
        trunk = {name: value.cpu().numpy().copy() for name, value in self.trunk.trunk.state_dict().items()}
        return {"trunk": trunk, "row_gain": self.row_gain, **self.head.export()}

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) rows or (n, h, w, c) images -> (n, D), or (n, D + d) with appended rows."""
        features = self.trunk.features(x)
        if self.row_gain is None:
            return features
        return torch.cat([features, self.row_gain * self.trunk.scaling(x)], 1)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.evaluate(batch)[0]

    def evaluate(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch, and the outputs (n, n_outputs) of the linear model."""
        features = self.features(batch.samples)
        return self.head(features, batch.target, batch.weight), self.head.outputs(features)


class ClassAnswers(nn.Module):
    """The features of rows or images, or with ``scores`` the scores (n, n_classes), for two classes (n,)."""

    def __init__(self, network: ClassNetwork, *, scores: bool = False) -> None:
        super().__init__()
        network.trunk.generator = None
        self.network, self.scores = network, scores

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.network.features(scale_pixels(x[..., None] if x.ndim == 3 else x))
        if not self.scores:
            return features
        scores = self.network.head.outputs(features)
        return scores[:, 0] if scores.shape[1] == 1 else scores
