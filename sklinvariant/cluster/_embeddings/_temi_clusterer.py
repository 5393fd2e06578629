"""Clustering of embeddings by self-distillation with weighted pointwise mutual information of neighbours.

Adaloglou, Michels, Kalisch & Kollmann 2023, "Exploring the limits of deep image clustering using pretrained models",
equations 3-7.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

import torch

from sklinvariant._distributed import whole_mean
from sklinvariant.base import Positive, Share, ShareBelowOne, declared
from sklinvariant.cluster._embeddings._embedding_clusterer import EmbeddingClusterer
from sklinvariant.cluster._embeddings._embedding_network import EmbeddingNetwork, Space
from sklinvariant.cluster._heads import SubHeads
from sklinvariant.pairs import ClusterBatch, SamplePairBatches

_MARGINAL_SHARE = 0.1  # of a batch in the running marginal distribution of the clusters


def pointwise_information(
    student: torch.Tensor, teacher: torch.Tensor, marginal: torch.Tensor, beta: float
) -> torch.Tensor:
    """ln Σ_c (q_s(c|x) q_t(c|x'))^β / q_t(c) of pairs (eq. 4-5): two (n, h, k) and (h, k) -> (n, h)."""
    tiny = torch.finfo(student.dtype).eps
    terms = ((student * teacher + tiny**2) ** beta) / marginal.clamp_min(tiny)
    return terms.sum(-1).log()


def pair_weights(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Σ_c q_t(c|x) q_t(c|x') of pairs (eq. 6), the mean over the heads: two (n, h, k) -> (n, 1).

    The weight is small if the teacher is uncertain or puts both samples into different clusters.
    """
    return (first * second).sum(-1).mean(1, keepdim=True)


class TEMINetwork(EmbeddingNetwork):
    """Linear heads of a student, and of a teacher, which are the running means of the student's weights."""

    marginal: torch.Tensor

    def __init__(
        self,
        spaces: list[Space],
        n_clusters: int,
        n_heads: int,
        *,
        beta: float,
        momentum: float,
        temperatures: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        super().__init__(spaces, n_heads)
        self.beta, self.momentum = beta, momentum
        self.temperature, self.teacher_temperature = temperatures
        self.heads = SubHeads(sum(self.sizes), n_clusters, n_heads, generator)
        self.teacher = SubHeads(sum(self.sizes), n_clusters, n_heads, generator).requires_grad_(False)
        uniform = torch.full((n_heads, n_clusters), 1 / n_clusters, dtype=torch.float32, device="cpu")
        self.register_buffer("marginal", uniform)

    def start(self) -> None:
        """The teacher is a copy of the student."""
        self.teacher.load_state_dict(self.heads.state_dict())

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """The teacher's probabilities (n, h, k)."""
        return (self.teacher.scores(features) / self.temperature).softmax(-1)

    def forward(self, batch: ClusterBatch) -> torch.Tensor:
        features = self.features(torch.cat([batch.first, batch.second]))
        student = (self.heads.scores(features).to(features) / self.temperature).softmax(-1)
        teacher = self._taught(features)
        (s, s_other), (t, t_other) = student.chunk(2), teacher.chunk(2)
        forth = pointwise_information(s, t_other, self.marginal, self.beta)
        back = pointwise_information(s_other, t, self.marginal, self.beta)
        losses = whole_mean((-pair_weights(t, t_other) * (forth + back) / 2).mean(0))  # eq. 7
        self.note(losses)
        return losses.mean()

    @torch.no_grad()
    def _taught(self, features):
        """The teacher's probabilities, after its weights and the marginal distribution have followed the student."""
        for own, new in zip(self.teacher.parameters(), self.heads.parameters(), strict=True):
            own.lerp_(new, 1 - self.momentum)
        teacher = (self.teacher.scores(features).to(features) / self.teacher_temperature).softmax(-1)
        self.marginal.lerp_(whole_mean(teacher.mean(0)), _MARGINAL_SHARE)
        return teacher


@declared
class TEMIClusterer(EmbeddingClusterer):
    r"""Clusters of embeddings on which a student, and a teacher that is its running mean, agree for neighbours.

    With the cluster probabilities :math:`q_s` of the student and :math:`q_t` of the teacher, the loss of a pair of
    neighbours x, x' is their weighted pointwise mutual information, made symmetric:

    .. math:: -w(x, x') \ln \sum_c \frac{(q_s(c \mid x)\, q_t(c \mid x'))^\beta}{q_t(c)}, \qquad
        w(x, x') = \sum_c q_t(c \mid x)\, q_t(c \mid x')

    The weight w reduces the influence of pairs that probably belong to different classes. If k clusters are certain and
    of equal size, the loss is :math:`-\ln k`. This is no lower bound, because :math:`q_t(c)` is a running mean over
    earlier steps, and ``history_`` therefore has no "loss_ratio".

    Compare with `IICClusterer`, which is more accurate on some rows and less accurate on others, also if class sizes
    differ much. On some embeddings, a consensus of k-means is more accurate than both:
    ``ConsensusClusterer(KMeans(3 * k, n_init=1), k, n_runs=20)``.

    Parameters
    ----------
    beta : float
        β. 1 is the mutual information itself, which empties clusters. Lower values favour clusters of equal size.
    temperature : float
        Temperature of the student's probabilities.
    teacher_temperature : float
        Temperature of the teacher's probabilities, lower than the student's, so that the student becomes certain.
    momentum : float
        Share of the teacher's weights that a step keeps. The rest are those of the student.

    References
    ----------
    Adaloglou, Michels, Kalisch, Kollmann (2023). Exploring the Limits of Deep Image Clustering using Pretrained
    Models. Equations 3-7.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.metrics import adjusted_rand_score
    >>> from sklinvariant import TEMIClusterer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TEMIClusterer(n_clusters=3, random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> bool(adjusted_rand_score(y, model.labels_) > 0.5)
    True
    """

    _: KW_ONLY
    beta: Share = 0.6
    temperature: Positive = 0.3
    teacher_temperature: Positive = 0.1
    momentum: ShareBelowOne = 0.99

    def _needs_pairs(self):
        return True

    def _build(self, spaces, n_clusters, generator):
        return TEMINetwork(
            spaces,
            n_clusters,
            self.n_heads,
            beta=self.beta,
            momentum=self.momentum,
            temperatures=(self.temperature, self.teacher_temperature),
            generator=generator,
        )

    def _batches(self, data: Any, generator: torch.Generator) -> SamplePairBatches:
        everything = torch.arange(len(data.rows), device=data.rows.device)
        return SamplePairBatches(data.pairs, everything, batch_size=self.batch_size, n_repeats=1)
