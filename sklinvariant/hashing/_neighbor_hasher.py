"""Codes that agree on neighbouring or paired rows, learned from the quantised codes themselves."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._distributed import own_rows, whole_mean, whole_rows, whole_sum
from sklinvariant.accumulate import Blocks, accumulate, measure_moments
from sklinvariant.base import Array, Count, FittedState, FrameReader, Positive, RowReader, check_size, declared
from sklinvariant.hashing._hasher import Hasher, principal_directions, random_rotation, signs, warn_of_constant
from sklinvariant.hashing._itq import fit_rotation
from sklinvariant.pairs import GraphBatches, GraphPairs, NeighborBatch, WithNeighbors
from sklinvariant.training import RowBatches, TrainedEstimator, WithOptimizer

_MOST_COMPONENTS = 256  # principal components of which bits are made
_STEPS = 200  # training steps with max_epochs="auto"
_ROTATIONS = 50  # iterations of the initial ITQ
_PAIRS = FrameReader(RowReader(wide=True), explicit=True)
_ITSELF = -1e9  # logit of a row as its own neighbour; finite, so that a batch of one row has a loss
_ALL = slice(None)


def nearest_in_batch(rows: torch.Tensor, n_neighbors: int, of: slice = _ALL) -> torch.Tensor:
    """Indices (n, k) of the nearest other rows (n, d) for the rows ``of``; k is at most n - 1."""
    distances = torch.cdist(rows[of], rows).masked_fill_(_itself(len(rows), of, rows.device), torch.inf)
    return distances.topk(min(n_neighbors, len(rows) - 1), largest=False).indices


def _itself(n, of, device):
    """Which of n rows, in columns, are the rows ``of`` themselves."""
    numbers = torch.arange(n, device=device)
    return numbers[of, None] == numbers


def partners(n: int) -> torch.Tensor:
    """Indices (n, 1) of the other row of each pair, where rows 2 i and 2 i + 1 are a pair."""
    return (torch.arange(n) ^ 1)[:, None]


def neighbor_loss(codes: torch.Tensor, neighbors: torch.Tensor, temperature: float, of: slice = _ALL) -> torch.Tensor:
    """Mean of ``-ln p(j | i)`` over the pairs of a row i and a neighbour j (n, k), for codes (n, b) of -1 and 1.

    The rows i are those ``of`` a part of the codes, and j and l are any rows.
    """
    return -log_shares(codes, temperature, of).gather(1, neighbors).sum() / max(1, neighbors.numel())


def log_shares(codes: torch.Tensor, temperature: float, of: slice = _ALL) -> torch.Tensor:
    """``ln p(j | i)`` (r, n) for codes (n, b) of -1 and 1, where the rows i are the r rows ``of`` a part of them."""
    n, b = codes.shape
    logits = codes[of] @ codes.T / (b * temperature)
    return logits.masked_fill(_itself(n, of, codes.device), _ITSELF).log_softmax(1)


def straight_through(projections: torch.Tensor) -> torch.Tensor:
    """The signs of projections, with the gradient of their hyperbolic tangent."""
    smooth = projections.tanh()
    return smooth + (signs(projections) - smooth).detach()


def default_temperature(n_bits: int) -> float:
    """1/8 for 32 bits; the fourth root of the number of bits lowers it, because longer codes tell more rows apart."""
    return (32 / n_bits) ** 0.25 / 8


class NeighborNetwork(nn.Module):
    """Linear projections of rows to bits, and the loss of their signs.

    A batch contains rows (n, m), pairs (n, 2, m), or a `NeighborBatch`, whose neighbours are those of a graph.

    Parameters are ``weight`` (b, m) and ``intercept`` (b,).
    """

    def __init__(self, weight: torch.Tensor, intercept: torch.Tensor, *, n_neighbors: int, temperature: float) -> None:
        super().__init__()
        self.weight, self.intercept = nn.Parameter(weight.clone()), nn.Parameter(intercept.clone())
        self.n_neighbors, self.temperature = n_neighbors, temperature

    def forward(self, batch: torch.Tensor | NeighborBatch) -> torch.Tensor:
        if isinstance(batch, NeighborBatch):
            return self._loss_of_graph(batch)
        in_pairs = batch.ndim == 3
        rows, own = whole_rows(batch).flatten(0, -2), own_rows(each=2 if in_pairs else 1)
        if in_pairs:
            neighbors = partners(len(rows))[own].to(rows.device)
        else:
            neighbors = nearest_in_batch(rows, self.n_neighbors, own)
        return whole_mean(neighbor_loss(self._codes(rows), neighbors, self.temperature, own))

    def _loss_of_graph(self, batch):
        rows, own, near = whole_rows(batch.samples), own_rows(), batch.near
        if near.shape[1] < len(rows):  # the other rows are those of other processes, with their own graphs
            near = nn.functional.pad(near, (own.start, len(rows) - own.stop))
        shares = log_shares(self._codes(rows), self.temperature, own)
        return -whole_sum(shares[near].sum()) / whole_sum(near.sum())

    def _codes(self, rows):
        return straight_through(torch.addmm(self.intercept, rows, self.weight.T))


def overcomplete_itq(components: Blocks, n_bits: int, generator: torch.Generator) -> torch.Tensor:
    """Weights (n_bits, m) of ITQ; more bits than the m components come from several random starts."""
    m = components.shape[1]
    parts = []
    for first in range(0, n_bits, m):
        size = min(m, n_bits - first)
        start = random_rotation(size, generator, components.dtype).to(components.device)
        leading = components.map(partial(torch.narrow, dim=1, start=0, length=size)).held()
        rotation, _ = fit_rotation(leading, start, _ROTATIONS)
        parts.append(nn.functional.pad(rotation.T, (0, m - size)))
    return torch.cat(parts)


@dataclass
class _Components:
    """Principal components (n, m) of the rows, and the mean (d,) and ``basis`` (m, d) that give them.

    ``samples`` are the components of rows (n, m) or of pairs (n, 2, m). ``source`` contains the neighbours of a graph.
    Components that would take more than 256 MiB are computed from the rows, which may be mapped from a file, when they
    are read.
    """

    components: Blocks
    mean: torch.Tensor
    basis: torch.Tensor
    samples: Blocks | torch.Tensor
    source: GraphPairs | None


@declared
class NeighborHasher(WithOptimizer, WithNeighbors, TrainedEstimator, Hasher):
    r"""Codes learned so that the codes of neighbouring rows are more similar than those of other rows.

    Each bit is the sign of a projection of a row x, :math:`w \cdot x + b`. With codes c of B bits, -1 and 1, training
    minimises the mean of :math:`-\ln p(j \mid i)`, where

    .. math:: p(j \mid i) = \frac{\exp(s_{ij} / \tau)}{\sum_l \exp(s_{il} / \tau)}, \qquad
        s_{ij} = \frac{1}{B} c(x_i) \cdot c(x_j)

    Row j is one of the nearest rows to i in a batch, or the other row of its pair, and l runs over all other rows of
    the batch. If the neighbours are given, as a graph or by ``neighbors``, a batch has rows and one random neighbour of
    each, and j is any neighbour of i in the batch. Training starts from the solution of `ITQHasher`. The gradient
    passes through the sign as if it were tanh.

    To find rows of the same class instead of the nearest rows, raise ``temperature`` to 0.25. `ITQHasher` is fitted in
    less time, and was better for this purpose on a set with 30 features, but not on one with 64.

    The defaults were chosen on sets of at most 5,000 rows. On 20,000 rows of MNIST they were only level with
    `ITQHasher`. For more than 10,000 rows, set ``batch_size=1024`` and ``n_neighbors=3``.

    Parameters
    ----------
    n_bits : int
        Length of the code, which may be larger than the number of features.
    pairs : {"neighbors", "explicit"}
        Which codes should be similar. "neighbors": those of the nearest rows. "explicit": X of `fit` and `partial_fit`
        contains pairs (n, 2, n_features), such as features of two views of an object or of consecutive frames.
        `transform` takes rows (n, n_features) in both cases.
    n_neighbors : int
        For "neighbors", the number of nearest rows within a batch that count as neighbours of a row. Together with
        ``batch_size``, it is the share of all rows that count as neighbours, by default 1 %. To find the 50
        nearest of more than 10,000 rows, ``n_neighbors=3`` and ``batch_size=1024`` are better. It is not used if the
        neighbours are given.
    temperature : float or "auto"
        τ. Lower values separate near neighbours from rows that are only slightly farther away. Higher values make all
        rows of a dense region similar, which finds more rows of the same class, but fewer of the nearest ones. "auto"
        is ``(32 / n_bits) ** 0.25 / 8``.
    max_epochs : int or "auto"
        Maximum number of passes over the rows or pairs. "auto" makes as many passes as 200 training steps need.
    batch_size : int
        Maximum number of rows or pairs in a training step, which are compared with each other. If the neighbours are
        given, this does not count the neighbour of each row.
    random_state : int, RandomState or None
        Seed of the initial rotation and of the order of rows.

    Attributes
    ----------
    mean_ : array of shape (n_features,)
        Mean of the rows.
    basis_ : array of shape (n_components, n_features)
        Principal directions of the rows, at most 256, divided by the root mean squared distance of rows from the mean.
    components_ : array of shape (n_bits, n_components)
        Weights of the principal components for each bit.
    intercept_ : array of shape (n_bits,)
        Value added to each projection.
    history_ : list of dict
        Number, mean loss and seconds of each epoch.

    See Also
    --------
    ITQHasher : Needs less time to fit.

    References
    ----------
    Goldberger, Roweis, Hinton, Salakhutdinov (2004). Neighbourhood components analysis. (The probability p.)
    Bengio, Léonard, Courville (2013). Estimating or propagating gradients through stochastic neurons for conditional
    computation. (The gradient of the sign.)

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import NeighborHasher
    >>> X = np.random.default_rng(0).random((200, 12))
    >>> codes = NeighborHasher(n_bits=16, random_state=0).fit_transform(X)
    >>> codes.shape, codes.dtype
    ((200, 16), dtype('uint8'))
    """

    _fits_in_parts = False
    _layout = {
        "mean": Array("n_features_in_"),
        "basis": Array("m", "n_features_in_"),
        "components": Array("n_bits", "m"),
        "intercept": Array("n_bits"),
    }
    n_bits: Count = 64
    _: KW_ONLY
    pairs: Literal["neighbors", "explicit"] = "neighbors"
    n_neighbors: Count = 5
    temperature: Literal["auto"] | Positive = "auto"
    max_epochs: Literal["auto"] | Count = "auto"  # type: ignore[assignment]
    batch_size: Count = 512
    learning_rate: Positive = 0.04

    mean_ = FittedState("Mean of the rows, (n_features,).")
    basis_ = FittedState("Principal directions of the rows, (n_components, n_features).")
    components_ = FittedState("Weights of the principal components, (n_bits, n_components).")
    intercept_ = FittedState("Value added to each projection, (n_bits,).")

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, graph: Any = None) -> Self:
        """Learn the codes.

        Parameters
        ----------
        X : array of shape (n, n_features), or (n, 2, n_features) with ``pairs="explicit"``
            Features. Neighbours are those with the smallest Euclidean distance, unless they are given.

        Raises
        ------
        ValueError
            If X contains NaN or infinity, or fewer than two rows or pairs, if its shape or ``graph`` does not match
            ``pairs``, if ``graph`` is not sparse or has another shape, or if ``warm_start=True`` but the previous fit
            had another ``n_bits``.

        Warns
        -----
        ConvergenceWarning
            If all rows are equal.
        """
        self._train(X, graph=graph)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, graph: Any = None) -> Self:
        """Train for one pass over a part of the rows. Those of the first call determine the principal directions."""
        self._train(X, partial=True, graph=graph)
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Learn the codes and compute those of the same rows.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Features.
        **fit_params : dict
            Passed to `fit`.

        Returns
        -------
        array of shape (n, n_bits) or (n, ⌈n_bits / 8⌉)
            Codes, as from `transform`.

        Raises
        ------
        ValueError
            If X contains NaN or infinity, or with ``pairs="explicit"``, because `transform` takes rows.
        """
        if self.pairs == "explicit":
            raise ValueError(
                f'{type(self).__name__}(pairs="explicit") learns from pairs but computes codes of rows. Call '
                "fit(pairs), then transform(rows)"
            )
        return super().fit_transform(X, y, **fit_params)

    def _read_samples(self, X, *, reset):
        return (_PAIRS if self.pairs == "explicit" else self._reader).read(self, X, reset=reset)

    def _data(self, given, y, generator, *, reset, graph):
        rows = given.tensor()
        n_samples = len(rows) // 2 if given.in_pairs else len(rows)
        if reset and n_samples < 2:
            raise ValueError(
                f"NeighborHasher learns from at least 2 samples, but X has n_samples={n_samples}. Fit to more samples."
            )
        found = self._given_graph(rows, self.pairs, graph)
        mean, basis = self._new_basis(rows) if reset else self._fitted_tensors(rows, "mean", "basis")
        if not reset and self.n_bits != self._state["n_bits"]:
            raise ValueError(
                f"n_bits={self.n_bits} differs from {self._state['n_bits']} in the previous fit. Set it back, set "
                "warm_start=False, or fit a clone"
            )
        components = Blocks(rows).map(lambda part: (part - mean) @ basis.T).held()
        samples = components.whole().unflatten(0, (-1, 2)) if given.in_pairs else components
        source = None if found is None else GraphPairs(components.whole(), found, generator)
        return _Components(components, mean, basis, samples, source)

    def _new_basis(self, rows):
        """The mean, and the principal directions in the unit in which components have a mean squared length of 1."""
        moments = measure_moments(Blocks(rows), 2)
        assert moments.products is not None
        warn_of_constant(moments.columns, type(self).__name__)
        directions = principal_directions(moments, _MOST_COMPONENTS).to(rows)
        mean, unit = moments.columns.mean.to(rows), moments.columns.unit
        spread = math.sqrt(float(moments.products.trace()) / len(rows)) or 1.0
        return mean, directions / (unit * spread)

    def _identity(self, data):
        samples = data.samples.values if isinstance(data.samples, Blocks) else data.samples
        return {"samples": [samples]} | ({} if data.source is None else {"neighbours": [*data.source.graph]})

    def _n_epochs(self, data):
        if self.max_epochs != "auto":
            return self.max_epochs
        n = data.samples.shape[0] if data.source is None else len(data.source)
        return math.ceil(_STEPS / math.ceil(n / self.batch_size))

    def _module(self, data, generator):
        components = data.components
        check_size(self.n_bits * components.shape[1], n_bits=self.n_bits)
        weight = overcomplete_itq(components, self.n_bits, generator)
        squares = accumulate(lambda part, _: (part @ weight.T).square().sum(dtype=torch.float64), components)
        weight = weight / (math.sqrt(float(squares) / (components.shape[0] * self.n_bits)) or 1.0)
        return self._network(weight, weight.new_zeros(self.n_bits))

    def _restored(self, data, generator):
        return self._network(*self._fitted_tensors(data.mean, "components", "intercept"))

    def _network(self, weight, intercept):
        temperature = default_temperature(self.n_bits) if self.temperature == "auto" else self.temperature
        return NeighborNetwork(weight, intercept, n_neighbors=self.n_neighbors, temperature=temperature)

    def _batches(self, data, generator):
        if data.source is not None:
            return GraphBatches(data.source, batch_size=self.batch_size)
        return RowBatches(data.samples, batch_size=self.batch_size, generator=generator)

    def _export(self, network, data):
        learned = {
            "mean": data.mean,
            "basis": data.basis,
            "components": network.weight,
            "intercept": network.intercept,
        }
        arrays = {key: value.detach().cpu().numpy().copy() for key, value in learned.items()}
        return {**arrays, "n_bits": self.n_bits}

    @staticmethod
    def _project(X, state):
        return ((X - state["mean"]) @ state["basis"].T) @ state["components"].T + state["intercept"]
