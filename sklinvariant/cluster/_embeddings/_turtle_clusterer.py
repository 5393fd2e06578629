"""Clustering of embeddings by labelings that linear classifiers find easy.

Gadetsky, Jiang & Brbić 2024, "Let go of your labels with unsupervised transfer", equations 3-7.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Any

import torch
from torch import nn

from sklinvariant._distributed import whole_mean
from sklinvariant.base import NonNegative, Positive, declared
from sklinvariant.cluster._embeddings._embedding_clusterer import EmbeddingClusterer
from sklinvariant.cluster._embeddings._embedding_network import EmbeddingNetwork, Space
from sklinvariant.cluster._heads import SubHeads
from sklinvariant.training import RowBatches


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of distributions (..., k)."""
    return torch.special.entr(probabilities).sum(-1)


def labeling_losses(
    labeling: torch.Tensor, scores: list[torch.Tensor], marginals: list[torch.Tensor], gamma: float
) -> torch.Tensor:
    """Σ_k [mean CE(w_k(φ_k(x)), τ(x)) - γ H(τ̄_k)] of each head (eq. 5-7).

    ``labeling`` (n, h, k) is τ, ``scores`` has the logits (n, h, k) of the classifiers of each space, and ``marginals``
    has the mean labelings (h, k) of the task encoders of each space.
    """
    errors = sum(-(labeling * score.log_softmax(-1)).sum(-1) for score in scores)
    return whole_mean(errors.mean(0)) - gamma * sum(entropy(marginal) for marginal in marginals)  # type: ignore


class SpaceHeads(nn.Module):
    """h linear heads for each space, from concatenated features (n, P) to logits (n, h, k)."""

    def __init__(self, sizes: list[int], n_clusters: int, n_heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.sizes = sizes
        self.heads = nn.ModuleList(SubHeads(p, n_clusters, n_heads, generator) for p in sizes)

    def of_spaces(self, features: torch.Tensor) -> list[torch.Tensor]:
        """The logits (n, h, k) of each space."""
        parts = features.split(self.sizes, 1)
        return [heads.scores(part).to(part) for heads, part in zip(self.heads, parts, strict=True)]  # type: ignore

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Logarithms of the probabilities, the mean of those of all spaces."""
        found = torch.stack([scores.log_softmax(-1) for scores in self.of_spaces(features)])
        return found.logsumexp(0)


class TURTLENetwork(EmbeddingNetwork):
    """Task encoders θ, whose mean probabilities are the labeling τ, and linear classifiers w that learn the labeling.

    In the paper w takes some steps of its own before each step of θ, and the gradient of θ ignores how these steps
    depend on θ. The gradients of w and θ are then those of one loss, which is minimised for both at once.
    """

    def __init__(
        self, spaces: list[Space], n_clusters: int, n_heads: int, *, gamma: float, generator: torch.Generator
    ) -> None:
        super().__init__(spaces, n_heads)
        self.gamma, self.n_clusters = gamma, n_clusters
        self.heads = SpaceHeads(self.sizes, n_clusters, n_heads, generator)
        self.classifiers = SpaceHeads(self.sizes, n_clusters, n_heads, generator)

    @property
    def lowest_loss(self) -> float:
        """The loss of certain clusters of equal size."""
        return -self.gamma * len(self.sizes) * math.log(self.n_clusters)

    def start(self) -> None:
        """The classifiers are copies of the task encoders."""
        self.classifiers.load_state_dict(self.heads.state_dict())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        features = self.features(rows)
        labelings = [scores.softmax(-1) for scores in self.heads.of_spaces(features)]
        labeling = sum(labelings) / len(labelings)
        marginals = [whole_mean(each.mean(0)) for each in labelings]
        scores = self.classifiers.of_spaces(features)
        losses = labeling_losses(labeling, scores, marginals, self.gamma)  # type: ignore[arg-type]
        self.note(losses)
        return losses.mean()


@declared
class TURTLEClusterer(EmbeddingClusterer):
    r"""Clusters of embeddings that linear classifiers in one or several feature spaces find easy to learn.

    The labeling τ is learned together with a linear classifier w in each of S feature spaces φ. It is the mean of soft
    assignments in these spaces, and labeling and classifiers minimise the same loss:

    .. math:: \tau(x) = \frac{1}{S} \sum_s \tau_s(x), \qquad \tau_s(x) = \mathrm{softmax}(\theta_s \phi_s(x))

    .. math:: \sum_s E_x\left[\mathrm{CE}(w_s \phi_s(x), \tau(x))\right] - \gamma \sum_s H(E_x[\tau_s(x)])

    CE is the cross-entropy. The entropy H keeps all clusters in use. The "loss_ratio" in ``history_`` is the loss
    divided by its lower bound :math:`-\gamma S \ln k` for k clusters: 1 if the clusters are certain and of equal size.
    It is missing if the bound is 0.

    `TURTLEClusterer` assumes clusters of similar sizes. If sizes differ, use `IICClusterer`.

    Parameters
    ----------
    n_neighbors : int
        Number of neighbours of each row for ``init="merge"``.
    gamma : float
        γ. High values make clusters equal in size. 0 allows a single cluster.
    classifier_rate : float
        Learning rate of the classifiers, as a multiple of ``learning_rate``. With higher rates, the labeling changes
        while the classifiers have almost finished learning it, as with many inner steps in the paper.

    References
    ----------
    Gadetsky, Jiang, Brbić (2024). Let Go of Your Labels with Unsupervised Transfer. Equations 3-7.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.metrics import adjusted_rand_score
    >>> from sklinvariant import TURTLEClusterer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TURTLEClusterer(n_clusters=3, random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> bool(adjusted_rand_score(y, model.labels_) > 0.5)
    True
    """

    _: KW_ONLY
    gamma: NonNegative = 10.0
    classifier_rate: Positive = 3.0

    def _build(self, spaces, n_clusters, generator):
        return TURTLENetwork(spaces, n_clusters, self.n_heads, gamma=self.gamma, generator=generator)

    def _batches(self, data: Any, generator: torch.Generator) -> RowBatches:
        return RowBatches(data.rows, batch_size=self.batch_size, generator=generator)

    def _learning_rates(self):
        return {"classifiers.*": self.learning_rate * self.classifier_rate}
