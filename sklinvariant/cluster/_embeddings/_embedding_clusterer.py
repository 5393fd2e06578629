"""The base of the estimators that cluster embeddings: rows of features that a network, or another model, computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._warnings import warn
from sklinvariant.base import (
    Array,
    Count,
    FittedState,
    Function,
    Maybe,
    OnDevice,
    Positive,
    RowReader,
    Share,
    TorchEstimator,
    Weights,
    Whole,
    check_computed,
    declared,
    integers,
    n_axes,
    restore_weights,
)
from sklinvariant.cluster._embeddings._embedding_network import EmbeddingNetwork, HeadProbabilities, Space
from sklinvariant.cluster._evaluation import compute
from sklinvariant.cluster._merged_start import (
    information_of_walks,
    merged_labels,
    pretrain_heads,
    stabilities_of_merging,
)
from sklinvariant.cluster._scaling import Scaling, choose_scaling
from sklinvariant.cluster._stability import UNSTABLE, numbers_to_compare, stable_number, too_few_rows
from sklinvariant.ops import in_smaller_chunks
from sklinvariant.pairs import MOST_STEPS, PartnerPairs, nearest_partners
from sklinvariant.training import TrainedEstimator, WithOptimizer

_STEPS = 300  # training steps with max_epochs="auto"
_START_RATE = 0.03  # learning rate of the few steps on merged clusters


@dataclass
class Rows:
    """Rows (n, d), the spaces of a new fit, the pairs of neighbours, if they are needed, and the number of clusters.

    ``stability`` is the agreement of each number of clusters that was compared, or None.
    """

    rows: torch.Tensor
    spaces: list[Space]
    pairs: PartnerPairs | None
    n_clusters: int
    stability: np.ndarray | None = None


def column_groups(spaces: Any, n_features: int, names: Any = None) -> list[np.ndarray]:
    """The indices of the columns of each group: slices, masks, indices or names, or one of them alone.

    None is one group of all columns.
    """
    if spaces is None:
        return [np.arange(n_features)]
    if not isinstance(spaces, Sequence) or isinstance(spaces, str) or not len(spaces):
        raise ValueError(
            f"spaces={spaces!r} should be None or a list with the columns of each space. For example, pass "
            "[slice(0, 512), slice(512, 768)]"
        )
    return [_columns(group, n_features, names) for group in spaces]


def _columns(group, n_features, names):
    named = [group] if isinstance(group, str | int | np.integer) else group
    try:
        if not isinstance(named, slice) and len(named) and all(isinstance(name, str) for name in named):
            known = {name: i for i, name in enumerate(() if names is None else names)}
            named = [known[name] for name in named]
        found = np.atleast_1d(np.arange(n_features)[named if isinstance(named, slice) else np.asarray(named)])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"spaces contains {group!r}, which are no columns of X with {n_features} features ({error}). Pass slices, "
            "masks, indices or, for data frames, names of columns"
        ) from error
    if found.ndim != 1 or not len(found):
        raise ValueError(f"spaces contains {group!r}, which selects no columns of X. Leave it out")
    return found


class EmbeddingReader(RowReader):
    """Reads rows of embeddings. A list of the embeddings of several networks raises an error that names ``spaces``."""

    def refuse_others(self, name: str, X: Any) -> None:
        """Raise a ValueError if X is None, of another kind, or a list of several arrays of rows."""
        super().refuse_others(name, X)
        if isinstance(X, (list, tuple)) and len(X) > 1 and all(n_axes(item) == 2 for item in X):
            raise ValueError(
                f"X is a list of {len(X)} arrays of rows, but {name} needs one array of rows. To cluster in several "
                "feature spaces, pass np.hstack(X), and the columns of each space as spaces, for example "
                "[slice(0, 512), slice(512, 768)]"
            )


@declared
class EmbeddingClusterer(OnDevice, WithOptimizer, TrainedEstimator, ClusterMixin, TorchEstimator):
    """Base of the estimators that cluster embeddings. A subclass implements ``_build`` and ``_batches``.

    Parameters
    ----------
    n_clusters : int or "auto"
        Number of clusters k. "auto" merges small clusters of k-means six times, as for ``init="merge"``, into each
        number of clusters from 2 to ``max_clusters``, and chooses the number for which the six results agree best, the
        largest of those within 0.001. Numbers above a quarter of the rows are not compared. It finds clusters that are
        well separated and have at least 8 rows, but is often wrong for classes that overlap.
    spaces : list or None
        The columns of each feature space, as slices, boolean masks, lists of indices or, for data frames, names. If
        embeddings of several networks are concatenated to rows, this tells where each of them is. None is one space of
        all columns.
    n_heads : int
        Number of heads, which start from different clusters. The head with the lowest loss gives the clusters.
    n_neighbors : int
        Number of neighbours of each row, in all spaces together: at most half of the mean size of a cluster, or with
        ``n_clusters="auto"`` a quarter of the rows, but at least 2. Equal rows count as one, unless there are fewer
        than four different rows for each cluster.
    scale : {"auto", "standard", "roots"} or None
        How features are scaled. "standard" divides each feature by its standard deviation. "roots" takes square roots
        and scales each row to unit length, which suits activations of networks and counts; negative values count as 0.
        None only centres them. "auto" chooses for each space: "standard" if features have different units, otherwise
        None or, if values begin at 0, "roots" if neighbours then have more mutual information.
    whitening : float
        Each space is rotated to its at most 128 principal axes, each coordinate is divided by its standard deviation to
        the power of this value, and rows are scaled to unit length. 0 keeps the variances, and 1 makes them equal. Rows
        with fewer than 10 principal axes are neither whitened nor scaled.
    entropy_weight : float
        Weight of the entropy of the clusters in the merged start. Values above 1 favour clusters of equal size.
    init : {"merge", "random"}
        "merge": small clusters of k-means are merged so that those of neighbours share as much information as possible,
        as in `IICClusterer`, and the heads are trained on the merged clusters for a few steps. "random": random heads,
        as in the paper.
    max_clusters : int
        Largest number of clusters for ``n_clusters="auto"``, if a batch has as many rows and X four times as many.
    max_epochs : int or "auto"
        Maximum number of passes over the rows. "auto" makes as many as 300 training steps need.
    batch_size : int
        Number of rows in a training step; at least ``n_clusters``.
    random_state : int, RandomState or None
        Seed of the small clusters, the initial weights, the order of rows and the pairs.

    Attributes
    ----------
    labels_ : array of shape (n,)
        Cluster of each row of the last fit.
    losses_ : array of shape (n_heads,)
        Mean loss of each head in the last steps.
    best_head_ : int
        Index of the head with the lowest loss, which is chosen without labels.
    n_clusters_ : int
        Number of clusters.
    stability_ : array of shape (at most max_clusters - 1,)
        Mean adjusted Rand index between mergings into 2, 3, … clusters, or 0 if a merging has fewer; only with "auto".
    """

    _layout = {
        "network": Weights(losses=Array("h")),
        "best_head": Whole(0),
        "labels": Array(None, kinds="i"),
        "n_clusters": Whole(1),
        "stability": Maybe(Array(None)),
    }
    _reader = EmbeddingReader()
    n_clusters: Count | Literal["auto"] = 8
    _: KW_ONLY
    spaces: Any = None
    n_heads: Annotated[int, integers(1, 1000)] = 5
    n_neighbors: Count = 10
    scale: Literal["auto", "standard", "roots"] | None = "auto"
    whitening: Share = 0.5
    entropy_weight: Positive = 1.0
    init: Literal["merge", "random"] = "merge"
    max_clusters: Annotated[int, integers(2, 1000)] = 20
    max_epochs: Literal["auto"] | Count = "auto"  # type: ignore[assignment]
    batch_size: Count = 1000
    learning_rate: Positive = 3e-3

    labels_ = FittedState("Clusters of the rows of the last fit, (n,).")
    best_head_ = FittedState("Index of the head with the lowest loss.")
    n_clusters_ = FittedState("Number of clusters.")
    stability_ = FittedState("Agreement of mergings into 2, 3, ... clusters.")

    @property
    def losses_(self) -> np.ndarray:
        """Mean losses of the heads, (n_heads,)."""
        if not hasattr(self, "_state"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'losses_'")
        return self._state["network"]["losses"]

    def _build(self, spaces: list[Space], n_clusters: int, generator: torch.Generator) -> EmbeddingNetwork:
        """The network with random heads."""
        raise NotImplementedError

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the clusters.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Embeddings.

        Raises
        ------
        ValueError
            If X contains NaN or infinite values, if there are fewer rows than clusters, if ``batch_size`` is smaller
            than ``n_clusters``, or if ``spaces`` does not select columns of X.

        Warns
        -----
        ConvergenceWarning
            If clusters are empty, or, with "auto", if the best ``stability_`` is below 0.5 or X has too few rows to
            compare larger numbers.
        """
        self._train(X)
        self._warn(*self._empty(), *self._uncertain())
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one pass over a part of the rows.

        With ``n_clusters="auto"``, the first part fixes the number of clusters. It should contain rows of all clusters.

        Parameters
        ----------
        X : array of shape (n, n_features)
            At least ``n_clusters`` embeddings, because the loss spreads the rows of a batch over all clusters. Join a
            short last block of a stream with the one before.

        Warns
        -----
        ConvergenceWarning
            With "auto", if the best ``stability_`` of the first part is below 0.5, or if this part has too few rows to
            compare larger numbers.
        """
        first = not hasattr(self, "_state")
        self._train(X, partial=True)
        if first:
            self._warn(*self._uncertain())
        return self

    def predict(self, X: Any) -> Any:
        """Predict the cluster of each row.

        Returns
        -------
        array of shape (n,)
        """
        given = self._read(X)
        return given.answer(self._compute(given, lambda probabilities: probabilities.argmax(1)))

    def predict_proba(self, X: Any) -> Any:
        """Predict the probabilities of the clusters for each row.

        They say how clearly a row belongs to its cluster, and not how probable it is that the cluster is a class.

        Returns
        -------
        array of shape (n, n_clusters)
        """
        given = self._read(X)
        return given.answer(self._compute(given, torch.clone))

    def _compute(self, given, function):
        """``function`` of the probabilities (m, k) of parts of the rows, concatenated."""
        rows, best = given.tensor(), self.best_head_
        network = self._network(rows)
        return compute(network, rows, lambda z: function(check_computed(self, network.probabilities(z)[:, best])))

    def _modules_of_methods(self, dtype):
        def probabilities():
            return HeadProbabilities(self._network(torch.empty(0, dtype=dtype)), self.best_head_)

        return {
            "predict_proba": probabilities,
            "predict": lambda: nn.Sequential(probabilities(), Function(partial(torch.argmax, dim=1))),
        }

    def _needs_pairs(self):
        return self.init == "merge" or self.n_clusters == "auto"

    def _data(self, given, y, generator, *, reset):
        rows = given.tensor()
        fewest = self._fewest() if reset else self._fitted_number()
        if len(rows) < max(2, fewest):
            raise ValueError(
                f"n_samples={len(rows)} should be >= n_clusters={fewest}, and at least 2. Pass more rows; in "
                "partial_fit, join a short block with another"
            )
        if self.batch_size < fewest:
            raise ValueError(f"batch_size={self.batch_size} should be >= n_clusters={fewest}. Raise batch_size")
        spaces = self._new_spaces(rows, generator) if reset else list(self._network(rows).spaces)
        pairs = None
        if self._needs_pairs():
            features = torch.cat([space(rows) for space in spaces], 1)
            partners = nearest_partners(features, self.n_neighbors, n_clusters=fewest)
            pairs = PartnerPairs(rows, partners, generator, most_steps=MOST_STEPS)
        number, stability = self._number(pairs, spaces) if reset else self._earlier_number()
        return Rows(rows, spaces, pairs, number, stability)

    def _number(self, pairs, spaces):
        """The number of clusters, and the stability of each number that was compared, or None."""
        if self.n_clusters != "auto":
            return self.n_clusters, None
        numbers = numbers_to_compare(len(pairs), min(self.max_clusters, self.batch_size))
        everything = torch.arange(len(pairs), device=pairs.samples.device)
        rescale, weight = EmbeddingNetwork(spaces, 1).features, self.entropy_weight
        stability = stabilities_of_merging(pairs, everything, numbers, entropy_weight=weight, rescale=rescale)
        return stable_number(numbers, stability), stability

    def _fewest(self):
        return 2 if self.n_clusters == "auto" else self.n_clusters

    def _earlier_number(self):
        return self._fitted_number(), self._state.get("stability")

    def _fitted_number(self):
        """The number of clusters of the fitted network, if parameters have not been changed."""
        return self._state["n_clusters"] if self.n_clusters == "auto" else self.n_clusters

    @torch.no_grad()
    def _new_spaces(self, rows, generator):
        own = torch.Generator().manual_seed(generator.initial_seed())  # training draws the same numbers in each case
        groups = column_groups(self.spaces, rows.shape[1], getattr(self, "feature_names_in_", None))
        found = []
        for group in groups:
            columns = torch.as_tensor(group).to(rows.device)
            part = rows.index_select(1, columns)
            scaling = Scaling.of(part, self._kind_of_scale(part, own))
            found.append(Space.of(rows, columns, scaling, self.whitening))
        return found

    def _kind_of_scale(self, rows, generator):
        def information(some):
            partners = nearest_partners(some, self.n_neighbors, n_clusters=self._fewest())
            return information_of_walks(PartnerPairs(some, partners, generator, most_steps=MOST_STEPS), some)

        return choose_scaling(rows, information, generator) if self.scale == "auto" else self.scale

    def _identity(self, data):
        return {"samples": [data.rows]}

    def _n_epochs(self, data):
        passes = math.ceil(_STEPS / math.ceil(len(data.rows) / self.batch_size))
        return passes if self.max_epochs == "auto" else self.max_epochs

    def _reseed(self, generator, before):
        generator.manual_seed(generator.initial_seed() + before)  # pairs and order differ from earlier epochs

    def _module(self, data, generator):
        network = self._build(data.spaces, data.n_clusters, generator).to(data.rows)
        network.start()
        return network.train()

    def _restored(self, data, generator):
        return self._network(data.rows).train()

    def _pretrain(self, network, data):
        if self.init == "merge":
            source, sizes = data.pairs, (data.n_clusters, self.n_heads)
            everything = torch.arange(len(data.rows), device=data.rows.device)
            weight = self.entropy_weight
            settings: Any = {"entropy_weight": weight, "rescale": network.features}
            labels = in_smaller_chunks(lambda: merged_labels(source, everything, *sizes, **settings), source.generator)
            steps: Any = {"batch_size": self.batch_size, "learning_rate": _START_RATE}
            pretrain_heads(network, source, everything, labels, optimizer=self._make_optimizer, **steps)
            network.start()

    def _export(self, network, data):
        best = int(network.losses.argmin())
        labels = compute(network, data.rows, lambda z: network.probabilities(z)[:, best].argmax(1))
        network.train()
        return {
            "network": {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()},
            "best_head": best,
            "labels": labels.cpu().numpy(),
            "n_clusters": data.n_clusters,
            **({} if data.stability is None else {"stability": data.stability}),
        }

    def _empty(self):
        """The message about empty clusters, if there are any."""
        k = self.n_clusters_
        empty = int((np.bincount(self.labels_, minlength=k) == 0).sum())
        advice = "lower n_clusters"
        if self.n_clusters == "auto":
            advice = f"pass a number below {k} as n_clusters" if k > 2 else "take X for one cluster"
        return [f"{empty} of {k} clusters are empty. Raise max_epochs, or {advice}"] if empty else []

    def _uncertain(self):
        """The messages about an uncertain number of clusters, if "auto" found it."""
        k, stability = self.n_clusters_, self._state.get("stability")
        if stability is None:
            return []
        if stability.max() >= UNSTABLE:
            return too_few_rows(k, len(stability) + 1, len(self.labels_), self.max_clusters)
        return [
            f"mergings into {k} clusters agree by only {stability.max():.2f}, so this number is uncertain. Pass "
            "n_clusters"
        ]

    def _warn(self, *problems):
        for problem in problems:
            warn(f"{type(self).__name__}: {problem}", ConvergenceWarning)

    def _network(self, rows):
        """The fitted network, on the device and in the precision of the rows."""
        weights = self._state["network"]
        spaces = EmbeddingNetwork.restored_spaces(weights)
        network = self._build(spaces, self._fitted_number(), torch.Generator())
        restore_weights(network, weights, self, parameters="n_clusters and n_heads")
        return network.to(rows).eval()
