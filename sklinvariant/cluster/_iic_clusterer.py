"""Clusters that a network finds by itself: those of the two samples of a pair tell of each other as much as they can.

Ji, Henriques & Vedaldi 2019, "Invariant information clustering for unsupervised image classification and
segmentation", equations 1-4.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant.base import (
    Array,
    Count,
    Each,
    FittedState,
    FrameReader,
    Maybe,
    OnDevice,
    PassingReader,
    Positive,
    RowReader,
    TorchEstimator,
    Weights,
    Whole,
    as_tensor,
    check_computed,
    check_size,
    declared,
    integers,
    keeps_state_on_failure,
    to_numpy,
    torch_generator,
)
from sklinvariant.cluster._cluster_network import ClusterNetwork, max_entropy
from sklinvariant.cluster._merged_start import merged_labels, pretrain_heads
from sklinvariant.images import ImageReader
from sklinvariant.ops import in_safe_unit, joint_information, joint_sum
from sklinvariant.pairs import (
    MOST_STEPS,
    PartnerPairs,
    SamplePairBatches,
    ViewPairs,
    default_views,
    explicit_pairs,
    nearest_partners,
    same,
    temporal_pairs,
    warn_of_shuffled,
)
from sklinvariant.training import TrainedEstimator, WithOptimizer

_AT_ONCE = 1024  # samples that are assigned at a time
_MEASURED = 20_000  # pairs, at least, by which heads are compared,
_MOST_DRAWS = 20  # as far as so many of each give
_STUCK = 0.05  # of ln k: assignments say as good as nothing of each other


@torch.no_grad()
def assign(network, samples):
    """Features (n, D) and probabilities (n, h, k) of the main heads."""
    network.eval()
    features = torch.cat([network.features(part) for part in samples.split(_AT_ONCE)])
    return features, network.heads(features)


@torch.no_grad()
def measure(network, source, pairs, n_draws):
    """The joint (h, k, k), not normalised, of the main heads over pairs (numbers) of a source, some drawn of each."""
    network.eval()
    total: Any = 0
    for index in pairs.split(_AT_ONCE):
        for _ in range(n_draws):
            first, second = (network.heads(network.features(x)) for x in source.take(index, 1))
            total = total + joint_sum(first, second)
    return total


@dataclass
class _Pairs:
    """Samples (n, ...), the first ones of pairs among them, where pairs come from, and those for the main heads."""

    samples: torch.Tensor
    firsts: torch.Tensor
    source: ViewPairs | PartnerPairs
    main: torch.Tensor


def draws_for(pairs):
    """How many of each of these pairs to measure, so that heads which differ little can be told apart."""
    return min(_MOST_DRAWS, math.ceil(_MEASURED / len(pairs)))


@declared
class IICClusterer(
    OnDevice,
    WithOptimizer,
    TrainedEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    TorchEstimator,
):
    """Clusters found by a network that maximises the mutual information between the clusters of paired samples.

    For pairs (x, x') that should fall into one cluster, and cluster probabilities Φ(x) of a network,
    ``P = mean Φ(x) Φ(x')ᵀ``, made symmetric, and ``I = Σ P_cc' ln(P_cc' / (P_c P_c'))`` is maximised: assignments get
    certain, alike within a pair, and spread over all clusters.

    Parameters
    ----------
    n_clusters : int
        k.
    pairs : {"auto", "transform", "neighbors", "temporal", "explicit"} or callable
        What makes a pair. "transform": an image and a changed view of it. "neighbors": a sample and one that 1 to 3
        steps lead to, each to one of the ``n_neighbors`` nearest others. "temporal": a frame and the next one of its
        clip. "explicit": X holds pairs, (n, 2, ...). A callable ``pairs(samples, generator)`` changes samples (n, ...)
        at random, and stands for "transform" with such ``transforms``. "auto" is "transform" for images and
        "neighbors" for rows.
    transforms : callable or None
        How the second sample of each pair is changed, ``transforms(samples, generator)``, as every transform of
        `sklinvariant.transforms` does. None leaves it as it is, except that of "transform", which is turned, stretched
        and moved a little; colour images are also mirrored and of other colours.
    n_neighbors : int
        Of "neighbors". More make fewer, rounder clusters of mixed samples likelier; fewer let a cluster break in two.
    network : {"auto", "mlp", "vgg", "resnet"} or torch.nn.Module
        The trunk. "mlp": two layers of 256 units. "vgg": four 5 × 5 convolutions of 64 to 512 channels, the paper's for
        MNIST. "resnet": 34 layers on the edges (Sobel) of the grey image, the paper's for colour images. A module,
        which is copied, takes (n, n_features) or (n, c, h, w) to features; what it draws from torch's global
        generators, such as dropout, is seeded by ``random_state``, and only one such module runs at a time. "auto" is
        "mlp" for rows and images of less than 12 pixels a side, then "vgg" for grey and "resnet" for colour images.
    n_overclusters : int or None
        Clusters of auxiliary heads, which learn in turns with the main ones and are then left aside: more than
        ``n_clusters``, so that the trunk learns finer differences. Doubles the time.
    n_heads : int
        Heads that start differently; the one of least loss gives the clusters.
    n_repeats : int
        Partners drawn for each sample of a batch. More make steadier steps that take longer.
    entropy_weight : float
        λ, the weight of the clusters' entropy: 1 is mutual information itself, and more favours clusters of equal
        size. The default of 2 forces clusters of nearly equal size: use 1 where classes differ in size.
    init : {"merge", "random"}
        Where the heads start. "merge": k-means makes many small clusters of the samples as they come, a different set
        for each head; those are merged into k by what the k would tell of each other in pairs, and a few steps teach
        the network so. "random" heads, which are the paper's, end in worse local optima more often than not.
    max_epochs : int
        Most passes over the pairs; with auxiliary heads each is one pass for these and one for the main ones.
    batch_size : int
        Pairs a step, not counting repeats; at least ``n_clusters``. P is estimated from them: small batches make I
        look larger than it is.
    tol : float or None
        Training stops when an epoch's loss, in parts of ln k, has not fallen by this for ``n_iter_no_change`` epochs;
        None never.
    image_shape : tuple or None
        (h, w) or (h, w, c) of images given as flat rows, whose whole numbers are then pixels 0-255. Without it rows are
        features, which are taken as they are.
    random_state : int, RandomState or None
        Seeds weights, order and pairs.

    Attributes
    ----------
    labels_ : array of shape (n,)
        The cluster of each sample of the last fit; of explicit pairs that of the first sample.
    mutual_information_ : array of shape (n_heads,)
        I of each head over all pairs, in nats.
    mutual_information_ratio_ : array of shape (n_heads,)
        The same in parts of ln k, which is the most there can be; 0 of a single cluster.
    best_head_ : int
        The head of least loss; labels are never looked at.
    history_ : list of dict
        Epoch, mean loss (in parts of ln k) and seconds of each epoch.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int
        Numbers in a sample.

    References
    ----------
    Ji, Henriques, Vedaldi (2019). Invariant Information Clustering for Unsupervised Image Classification and
    Segmentation. Equations 1-4.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.metrics import adjusted_rand_score
    >>> from sklinvariant import IICClusterer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = IICClusterer(n_clusters=3, random_state=0).fit(X)
    >>> model.predict_proba(X).shape
    (150, 3)
    >>> bool(adjusted_rand_score(y, model.labels_) > 0.7)
    True
    """

    _layout = {
        "network": Weights(shift=Array(None), heads__linear__weight=Array(None, "n_trunk_features")),
        "n_trunk_features": Whole(),
        "n_channels": Maybe(Whole()),
        "sample_shape": Each(Whole()),
        "best_head": Whole(0),
        "labels": Array(None, kinds="i"),
        "mutual_information": Array("h"),
        "mutual_information_ratio": Array("h"),
    }
    n_clusters: Count = 8
    _: KW_ONLY
    pairs: Literal["auto", "transform", "neighbors", "temporal", "explicit"] | Callable = "auto"
    transforms: Callable | None = None
    n_neighbors: Count = 10
    network: Literal["auto", "mlp", "vgg", "resnet"] | nn.Module = "auto"
    n_overclusters: Annotated[int, integers(2)] | None = None
    n_heads: Annotated[int, integers(1, 1000)] = 5
    n_repeats: Annotated[int, integers(1, 1000)] = 1
    entropy_weight: Positive = 2.0
    init: Literal["merge", "random"] = "merge"
    max_epochs: Count = 100
    batch_size: Count = 1000
    learning_rate: Positive = 3e-3
    image_shape: tuple | list | None = None

    labels_ = FittedState("(n,) clusters of the samples of the last fit")
    mutual_information_ = FittedState("(n_heads,) mutual information in nats")
    mutual_information_ratio_ = FittedState("(n_heads,) mutual information in parts of ln k")
    best_head_ = FittedState("the head of least loss")

    def _check_layout(self):
        state = self._state
        shape, heads = state["sample_shape"], state["network"]["heads.linear.weight"]
        if len(shape) not in (1, 3) or (len(shape) == 1) != (state["n_channels"] is None):
            raise ValueError(f"samples of shape {shape} do not fit n_channels={state['n_channels']}")
        if state["network"]["shift"].shape != (shape[-1],):
            raise ValueError(f"shift should have {shape[-1]} numbers, got {state['network']['shift'].shape}")
        # before a network of that size is made
        if len(heads) != self.n_heads * self.n_clusters or state["best_head"] >= self.n_heads:
            raise ValueError(f"{len(heads)} units are not n_heads={self.n_heads} of n_clusters={self.n_clusters}")
        auxiliary = state["network"].get("auxiliary.linear.weight")
        if len(auxiliary if auxiliary is not None else ()) != self.n_heads * (self.n_overclusters or 0):
            raise ValueError(f"the auxiliary heads are not n_heads={self.n_heads} of {self.n_overclusters} clusters")

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, groups=None, auxiliary=None):
        """Learn the clusters.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])
            Rows, or images of one size: whole numbers 0-255 or floats. With ``pairs="explicit"`` the second axis is
            one more, of length 2.
        y : None
            Ignored.
        groups : array-like of shape (n,), default=None
            The clip of each frame, for ``pairs="temporal"``. None is one clip, and a warning is given if consecutive
            frames are no more alike than random ones. In a Pipeline, ask for it by
            ``set_fit_request(groups=True)``.
        auxiliary : array-like of shape (n,), default=None
            True for samples (or explicit pairs) that may be of no cluster: they train the auxiliary heads only, and so
            need ``n_overclusters``. Asked for by ``set_fit_request(auxiliary=True)`` in a Pipeline.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For NaN and infinite values, fewer samples or pairs than clusters, a batch smaller than the number of
            clusters, and pairs that cannot be made of such samples.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.

        Warns
        -----
        ConvergenceWarning
            Where clusters are left without samples, and where pairs share no information about clusters.
        UserWarning
            With ``pairs="temporal"`` and no ``groups``, if the rows do not look like frames in temporal order.
        """
        self._train(X, groups=groups, auxiliary=auxiliary)
        self._warn()
        return self

    def fit_predict(self, X, y=None, groups=None, auxiliary=None):
        """Learn the clusters; those of the samples.

        Parameters
        ----------
        X : array as in `fit`
        y : None
            Ignored.
        groups : array-like of shape (n,), default=None
            As in `fit`.
        auxiliary : array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        array of shape (n,)
            ``labels_``, in the kind of array of X.
        """
        given = PassingReader().read(self, X)
        return given.answer(self.fit(X, groups=groups, auxiliary=auxiliary).labels_)

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, groups=None, auxiliary=None):
        """One pass over a part of the samples, whose pairs lie within the part.

        Parameters
        ----------
        X : array as in `fit`
        y : None
            Ignored.
        groups : array-like of shape (n,), default=None
            As in `fit`.
        auxiliary : array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        self
        """
        self._train(X, groups=groups, auxiliary=auxiliary, partial=True)
        return self

    def predict(self, X):
        """The cluster of each sample.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n,)
        """
        given = self._read_samples(X)
        return given.answer(self._assign(given)[1].argmax(1))

    def predict_proba(self, X):
        """The probabilities of the clusters for each sample.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n, n_clusters)
        """
        given = self._read_samples(X)
        return given.answer(self._assign(given)[1])

    def transform(self, X):
        """The features that the trunk gives to the heads.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n, n_trunk_features)
        """
        given = self._read_samples(X)
        return given.answer(self._assign(given)[0])

    def score(self, X, y=None, groups=None):
        """Mutual information of the clusters of pairs of these samples, in nats: at most ln k.

        Parameters
        ----------
        X : array as in `fit`
            Pairs are made of them as in `fit`, and drawn by ``random_state``.
        y : None
            Ignored.
        groups : array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        float
        """
        samples = self._read(X).tensor()
        source = self._source(samples, groups, None, torch_generator(self.random_state))
        pairs = torch.arange(len(source), device=samples.device)
        joint = measure(self._network(samples), source, pairs, draws_for(pairs))
        return float(joint_information(joint)[self.best_head_].clamp_min(0))

    @property
    def _reader(self):
        return _PAIRS if self.pairs == "explicit" else _SAMPLES

    def _read_samples(self, X):
        """The `Input` of samples, which are not in pairs, also after a fit on explicit pairs."""
        if self.pairs == "explicit" and len(getattr(X, "shape", ())) == len(self._state["sample_shape"]) + 2:
            raise ValueError(f"{type(self).__name__} takes samples, not pairs: give X[:, 0] or X[:, 1]")
        return _SAMPLES.read(self, X)

    def _source(self, samples, groups, auxiliary, generator):
        kind, views = self.pairs, self.transforms or same
        if kind == "auto":
            kind = "transform" if samples.ndim == 4 else "neighbors"
        if kind == "explicit":
            return explicit_pairs(samples, views, generator)
        if kind == "temporal":
            return temporal_pairs(samples, groups, views, generator)
        if kind == "neighbors":
            partners = nearest_partners(samples, self.n_neighbors, auxiliary)
            return PartnerPairs(samples, partners, generator, most_steps=MOST_STEPS, views=views)
        if callable(kind):
            views = kind
        elif self.transforms is None:
            if samples.ndim == 2:
                raise ValueError('pairs="transform" needs images: give image_shape, or use pairs="neighbors"')
            views = default_views(samples.shape[-1])
        return ViewPairs(samples, views, generator)

    def _auxiliary(self, auxiliary, n, device):
        """(samples,) booleans, or None where there are none."""
        if auxiliary is None:
            return None
        auxiliary = np.asarray(to_numpy(auxiliary))
        if auxiliary.shape != (n,) or auxiliary.dtype != bool:
            raise ValueError(
                f"auxiliary must hold one True or False for each of {n} samples, got an array of {auxiliary.dtype} of "
                f"shape {auxiliary.shape}"
            )
        if self.n_overclusters is None and auxiliary.any():
            raise ValueError("auxiliary samples train only the auxiliary heads: set n_overclusters to have them")
        each = 2 if self.pairs == "explicit" else 1
        return as_tensor(auxiliary).to(device).repeat_interleave(each)

    def _check_numbers(self, n):
        what = "pairs" if self.pairs == "explicit" else "samples"
        if n < self.n_clusters:
            raise ValueError(f"n_{what}={n} should be >= n_clusters={self.n_clusters}: a cluster needs a sample")
        if self.batch_size < self.n_clusters:
            raise ValueError(f"batch_size={self.batch_size} should be >= n_clusters={self.n_clusters}")
        check_size((self.n_overclusters or 0) ** 2, n_overclusters=self.n_overclusters)

    def _data(self, given, y, generator, *, reset, groups, auxiliary):
        samples = given.tensor()
        firsts = samples[::2] if given.in_pairs else samples
        auxiliary = self._auxiliary(auxiliary, len(firsts), samples.device)
        self._check_numbers(
            len(firsts) if auxiliary is None else int((~auxiliary).sum()) // (2 if given.in_pairs else 1)
        )
        source = self._source(samples, groups, auxiliary, generator)
        if self.pairs == "temporal" and groups is None:
            warn_of_shuffled(samples, type(self).__name__)
        main = torch.arange(len(source), device=samples.device) if auxiliary is None else source.without(auxiliary)
        if len(main) == 0:
            raise ValueError("there is no pair without an auxiliary sample, and so none for the main heads")
        return _Pairs(samples, firsts, source, main)

    def _identity(self, data):
        return {"samples": [data.samples], "groups or auxiliary samples": [data.source.rows, data.main]}

    def _reseed(self, generator, before):
        generator.manual_seed(generator.initial_seed() + before)  # other views and another order than in those epochs

    def _module(self, data, generator):
        network = self._start(data.samples, generator)
        network.draw_from(generator)
        return network

    def _restored(self, data, generator):
        network = self._network(data.samples)
        network.draw_from(generator)
        return network

    def _pretrain(self, network, data):
        if self.init == "merge":
            source, main, weight = data.source, data.main, self.entropy_weight
            labels = merged_labels(source, main, self.n_clusters, self.n_heads, entropy_weight=weight)
            steps = {"batch_size": self.batch_size, "learning_rate": self.learning_rate}
            pretrain_heads(network, source, main, labels, optimizer=self._make_optimizer, **steps)

    def _batches(self, data, generator):
        return SamplePairBatches(
            data.source,
            data.main,
            batch_size=self.batch_size,
            n_repeats=self.n_repeats,
            with_auxiliary=self.n_overclusters is not None,
        )

    def _export(self, network, data):
        samples, source, generator = data.samples, data.source, data.source.generator
        source.generator = torch.Generator().manual_seed(generator.initial_seed())
        joint = measure(network, source, data.main, draws_for(data.main))
        source.generator = generator  # a callback that looks at the model does not change what is drawn next
        best = int(network.losses(joint).argmin())
        information = joint_information(joint).clamp_min(0).cpu().numpy()
        state = {
            "network": {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()},
            "n_trunk_features": network.heads.linear.in_features,
            "n_channels": samples.shape[-1] if samples.ndim == 4 else None,
            "sample_shape": list(samples.shape[1:]),
            "best_head": best,
            "labels": assign(network, data.firsts)[1][:, best].argmax(1).cpu().numpy(),
            "mutual_information": information,
            "mutual_information_ratio": information / max_entropy(self.n_clusters),
        }
        network.train()
        return state

    def _warn(self):
        counts = np.bincount(self.labels_, minlength=self.n_clusters)
        ratio = self.mutual_information_ratio_[self.best_head_]
        if ratio < _STUCK and self.n_clusters > 1:
            text = (
                f"pairs share {ratio:.1%} of the information that they could: training never left the uniform "
                "solution. Look at the pairs, or raise max_epochs or learning_rate"
            )
        elif not counts.all():
            text = (
                f"{(counts == 0).sum()} of {self.n_clusters} clusters are empty; raise entropy_weight, batch_size or "
                "max_epochs, or lower n_clusters"
            )
        else:
            return
        warnings.warn(f"{type(self).__name__}: {text}", ConvergenceWarning, stacklevel=3)

    def _start(self, samples, generator):
        """A network of random weights, on the device and in the precision of samples, which set shift and scale."""
        axes = 0 if samples.ndim == 2 else (0, 1, 2)
        values, unit = in_safe_unit(samples)
        shift = values.mean(axes)
        scale = (values - shift).square().mean(dtype=torch.float64).sqrt().to(samples)
        shift, scale = shift * unit, torch.where(scale > 0, scale, 1) * unit
        return self._build(tuple(samples.shape[1:]), generator, shift, scale).to(samples)

    def _network(self, like):
        """The fitted network, on the device and in the precision of samples."""
        state = self._state["network"]
        # as numbers of its own: the weights are those of a model that may be mapped from a file
        tensors = {name: torch.tensor(np.asarray(value)) for name, value in state.items()}
        shape = tuple(self._state["sample_shape"])
        network = self._build(shape, torch.Generator(), tensors["shift"], tensors["scale"])
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self).__name__} was fitted with another network or other numbers of heads and clusters than "
                f"its parameters say now; set them back, or fit a clone ({error})"
            ) from error
        return network.to(like)

    def _build(self, shape, generator, shift, scale):
        sizes = self.n_heads, self.n_clusters, self.n_overclusters
        settings = {"shift": shift, "scale": scale, "entropy_weight": self.entropy_weight}
        return ClusterNetwork.build(self.network, shape, *sizes, generator=generator, **settings)

    def _assign(self, given):
        """The features of samples, and their probabilities (n, n_clusters)."""
        samples = given.tensor()
        features, probabilities = assign(self._network(samples), samples)
        return features, check_computed(self, probabilities[:, self.best_head_])

    @property
    def _n_features_out(self):
        return self._state["n_trunk_features"]


class SampleReader(ImageReader):
    """Reads rows (n, d) or images (n, h, w, c); flat rows are images only if ``image_shape`` is set."""

    needs = "rows or images, as arrays"

    def _check(self, estimator, X, kind, reset):
        as_rows, name = estimator.image_shape is None and not _are_images(X), type(estimator).__name__
        if not reset and as_rows is not (estimator._state["n_channels"] is None):
            raise ValueError(
                f"{name} was fitted on {'images' if as_rows else 'rows'}, and cannot take "
                f"{'rows' if as_rows else 'images'}; give image_shape for flat rows, X[None] for one image"
            )
        if as_rows:
            given = RowReader._check(self, estimator, X, kind, reset)
        else:
            given = super()._check(estimator, X, kind, reset)
        if reset and as_rows:
            estimator.__dict__.pop("pixel_range_", None)
        if not reset and list(given.data.shape[1:]) != (expected := estimator._state["sample_shape"]):
            raise ValueError(
                f"the images are of shape {tuple(given.data.shape[1:])}, but {name} was fitted on images of shape "
                f"{tuple(expected)}"
            )
        return given


def _are_images(X):
    """Whether it has more than two axes; a list is looked into."""
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and (X[0].ndim if isinstance(X[0], torch.Tensor) else np.ndim(X[0])) > 1
    return getattr(X, "ndim", 2) > 2


_SAMPLES = SampleReader()
_PAIRS = FrameReader(_SAMPLES, explicit=True)
