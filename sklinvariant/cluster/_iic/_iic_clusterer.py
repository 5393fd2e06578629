"""Clustering that maximises the mutual information between the assignments of paired samples.

Ji, Henriques & Vedaldi 2019, "Invariant information clustering for unsupervised image classification and
segmentation", equations 1-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._warnings import warn
from sklinvariant.base import (
    Count,
    FrameReader,
    OnDevice,
    Positive,
    Reader,
    RowReader,
    check_size,
    declared,
    integers,
    n_axes,
    torch_generator,
)
from sklinvariant.cluster._cluster_network import max_entropy
from sklinvariant.cluster._evaluation import compute, draws_for, measure
from sklinvariant.cluster._iic._fitted_clusters import FittedClusters, samples_of
from sklinvariant.cluster._iic._pair_sources import WithPairs
from sklinvariant.cluster._merged_start import information_of_walks, merged_labels, pretrain_heads
from sklinvariant.cluster._scaling import Scaling, choose_scaling
from sklinvariant.images import ImageFiles, ImageReader, WithImageSize, scale_pixels
from sklinvariant.ops import in_smaller_chunks, joint_information
from sklinvariant.pairs import (
    MOST_STEPS,
    GraphPairs,
    PartnerPairs,
    SamplePairBatches,
    ViewPairs,
    nearest_partners,
    warn_of_shuffled,
)
from sklinvariant.training import TrainedEstimator, WithOptimizer


class SampleReader(Reader):
    """Reads rows (n, d) or images (n, h, w, c); flat rows are images only if ``image_shape`` is set."""

    _attribute_docs = ImageReader._attribute_docs
    needs = "rows or images, as arrays"
    three_d_array = True
    takes_files = True

    def __init__(self) -> None:
        self.rows, self.images = RowReader(), ImageReader()

    def opened(self, sources: list[str | bytes]) -> Any:
        """The images in files."""
        return self.images.opened(sources)

    def _check(self, estimator, X, kind, reset):
        as_rows, name = estimator.image_shape is None and not _are_images(X), type(estimator).__name__
        if not reset:
            _refuse_pairs(name, X, tuple(estimator._state["sample_shape"]))
        if not reset and as_rows is not (estimator._state["n_channels"] is None):
            raise ValueError(
                f"{name} was fitted on {'images' if as_rows else 'rows'}, but X contains "
                f"{'rows' if as_rows else 'images'}. Set image_shape for flat rows, or pass X[None] for a single image"
            )
        given = (self.rows if as_rows else self.images)._check(estimator, X, kind, reset)
        if reset and as_rows:
            estimator.__dict__.pop("pixel_range_", None)
        return given


def _refuse_pairs(name, X, sample_shape):
    """Raise a ValueError if X contains pairs (n, 2, ...) of samples."""
    shape = _shape(X)
    if len(sample_shape) == 1:
        in_pairs = len(shape) == 3
    else:  # an image can be given as (h, w, c), as a flat row, and if it is grey as (h, w)
        same = [sample_shape, (math.prod(sample_shape),)] + [sample_shape[:2]] * (sample_shape[2] == 1)
        in_pairs = shape[2:] in same and shape[1:] not in same
    if in_pairs and shape[1] == 2:
        raise ValueError(
            f"X of shape {shape} contains pairs, but {name} needs single samples of shape {sample_shape} here. Pass "
            "the first or the second sample of each pair, X[:, 0] or X[:, 1] of an array"
        )


def _shape(X):
    """The shape of X; a list has the shape that it would have if all of its items were like the first one."""
    if isinstance(X, (list, tuple)):
        return (len(X), *(_shape(X[0]) if len(X) else ()))
    nested = isinstance(X, torch.Tensor) and X.is_nested
    return () if nested else tuple(getattr(X, "shape", ()))


def _are_images(X):
    """Whether X, or the first item of a list, is an image."""
    if isinstance(X, (list, tuple)):
        return n_axes(X) > 2
    return isinstance(X, ImageFiles) or getattr(X, "ndim", 2) > 2 or hasattr(X, "getbands")  # of Pillow


SAMPLES = SampleReader()
PAIRS = FrameReader(SAMPLES, explicit=True)


# training steps with max_epochs="auto": on rows that start from merged clusters, and otherwise
_FEW_STEPS, _STEPS = 60, 300
_FEWEST_EPOCHS = 3
_STUCK = 0.05  # share of ln k below which training has probably failed


@dataclass
class _Pairs:
    """All samples (n, ...), the first samples of pairs, the source of pairs, the main heads' pairs, and the scaling."""

    samples: torch.Tensor
    firsts: torch.Tensor
    source: ViewPairs | PartnerPairs
    main: torch.Tensor
    scaling: Scaling


@declared
class IICClusterer(WithImageSize, OnDevice, WithOptimizer, WithPairs, TrainedEstimator, FittedClusters):
    r"""Clusters found by a network that maximises the mutual information between the clusters of paired samples.

    For embeddings, try `TEMIClusterer` first. For rows with two or three features, or a few hundred rows with a few
    well-scaled features, `sklearn.mixture.GaussianMixture` is as good or better, and much faster.

    The pairs (x, x') contain samples that should be in the same cluster. A network computes the cluster probabilities Φ
    of a sample. The joint distribution P of the clusters of n pairs, which is made symmetric, and its mutual
    information I are

    .. math:: P = \frac{1}{n} \sum_{i=1}^n \Phi(x_i) \Phi(x'_i)^T, \qquad
        I = \sum_{c, c'} P_{cc'} \ln \frac{P_{cc'}}{P_c P_{c'}}

    The network maximises I, which is large if assignments are certain, agree within each pair, and use all clusters.

    Parameters
    ----------
    n_clusters : int
        Number of clusters k.
    pairs : {"auto", "transform", "neighbors", "temporal", "explicit"} or callable
        How pairs are formed. "transform": an image and a transformed view of it. "neighbors": a sample and another one
        that is reached by 1 to 3 steps, each of which goes to one of the ``n_neighbors`` nearest samples. "temporal": a
        frame and the next frame of its clip. "explicit": X contains pairs, (n, 2, ...). A callable
        ``pairs(samples, generator)`` transforms samples (n, ...) at random, and is equivalent to "transform" with this
        function as ``transforms``. "auto" is "transform" for images and "neighbors" for rows.
    transforms : callable or None
        Transformation of the second sample of each pair, a transform of `sklinvariant.transforms`, torchvision
        (``transforms.v2``) or kornia (``augmentation``), or another function ``transforms(samples, generator)``. None
        does not transform it, except with "transform", which then uses small rotations, scales, shears and shifts, and
        for colour images also reflections and changes of colour.
    n_neighbors : int
        Number of neighbours for "neighbors", at most half of the mean size of a cluster, but at least 2. With many
        neighbours, clusters may mix several classes. With few neighbours, a class may be split into two clusters. Equal
        samples count as one, unless there are fewer than four different samples for each cluster. The search is exact
        for at most 50,000 samples and on a GPU. For more samples, if faiss is installed, it uses inverted lists in
        which 1,000 samples find at least 95 % of their neighbours, or others that are on average at most 1 % farther
        away.
    network : {"auto", "mlp", "vgg", "resnet"} or torch.nn.Module
        The trunk, which computes the features. "mlp": two layers of 256 units. "vgg": four 5 × 5 convolutions of 64 to
        512 channels, as in the paper for MNIST. "resnet": 34 layers on the edges (Sobel) of the grey image, as in the
        paper for colour images. A module maps (n, n_features) or (n, c, h, w) to features, and is copied. Random
        numbers that it draws from torch's global generators, for example for dropout, are seeded by ``random_state``,
        and only one such module runs at a time. "auto" is "mlp" for rows and for images with a side of less than 12
        pixels, otherwise "vgg" for grey images and "resnet" for colour images.
    n_overclusters : int or None
        Number of clusters of the auxiliary heads, larger than ``n_clusters``, so that the trunk learns finer
        differences. The auxiliary heads are trained alternately with the main heads and are not used for predictions.
        They double the training time. None disables them.
    n_heads : int
        Number of heads, which have different initial weights. The head with the lowest loss gives the clusters.
    n_repeats : int
        Number of partners drawn for each sample of a batch. More partners give less noisy but slower steps.
    entropy_weight : float
        λ, the weight of the entropy of the clusters. 1 is the mutual information. Higher values favour clusters of
        equal size, and prevent empty clusters with ``init="random"``. They split large classes if sizes differ.
    scale : {"auto", "standard", "roots"} or None
        How rows are scaled; images are not. "standard" divides each feature by its standard deviation. "roots" takes
        square roots and scales each row to unit length, which suits activations of networks and histograms; negative
        values count as 0. None leaves rows as they are. "auto" is "standard" if features have different units (the
        largest standard deviation exceeds 30 times the median). Otherwise it is None or, if values begin at 0 and pairs
        are neighbours, "roots" if pairs then have more mutual information. Neighbours of a ``graph`` or an estimator
        do not depend on the scale, and "auto" then does not choose "roots".
    init : {"merge", "random"}
        Initialisation of the heads. "merge": k-means finds many small clusters, different ones for each head. They are
        merged into k clusters so that the mutual information between paired samples is as large as possible, and the
        network is trained on these clusters for a few steps. For pairs of neighbours, the merging uses walks of 1 to 30
        steps. "random" is the initialisation of the paper, which ends in worse local optima more often than not.
    max_epochs : int or "auto"
        Maximum number of passes over the pairs. "auto" makes as many passes as 300 training steps need, at least 3. For
        rows with ``init="merge"``, it makes as many as 60 steps need, at least 3 passes or 300 steps, whichever is
        less. With auxiliary heads, each epoch has one pass for these heads and one for the main heads.
    batch_size : int
        Number of pairs in a training step, not counting repeats; at least ``n_clusters``. P is estimated from a batch,
        so small batches overestimate I.
    tol : float or None
        Training stops when the loss, divided by ln k, has not decreased by more than this value for
        ``n_iter_no_change`` epochs. None disables this criterion.
    image_shape : tuple or None
        Shape (h, w) or (h, w, c) of images given as flat rows, whose integers are then pixels 0-255. None treats rows
        as features, which are not rescaled.
    random_state : int, RandomState or None
        Seed of the initial weights, the order of samples and the pairs.

    Attributes
    ----------
    labels_ : array of shape (n,)
        Cluster of each sample of the last fit; for explicit pairs, of the first sample of each pair.
    mutual_information_ : array of shape (n_heads,)
        Mutual information I of each head over all pairs, in nats.
    mutual_information_ratio_ : array of shape (n_heads,)
        I divided by its maximum ln k; 0 for a single cluster.
    best_head_ : int
        Index of the head with the lowest loss, which is chosen without labels.
    history_ : list of dict
        Number, mean loss (divided by ln k) and seconds of each epoch. "loss_ratio" is the loss divided by its lower
        bound 1 - 2 λ: 1 if both samples of each pair surely have the same cluster, and all clusters are of equal size.
        It is missing if λ ≤ 1/2.
    n_features_in_ : int
        Number of values of a sample.

    See Also
    --------
    TEMIClusterer : Clusters embeddings, also by their neighbours.
    TURTLEClusterer : Clusters several embeddings of the same samples.
    IICSegmenter : Clusters pixels.
    IICClassifier : Fine-tunes a clusterer with a few labels.

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

    _samples = SAMPLES
    n_clusters: Count = 8
    _: KW_ONLY
    pairs: Literal["auto", "transform", "neighbors", "temporal", "explicit"] | Callable = "auto"
    transforms: Callable | None = None
    n_neighbors: Count = 10
    network: Literal["auto", "mlp", "vgg", "resnet"] | nn.Module = "auto"
    n_overclusters: Annotated[int, integers(2)] | None = None
    n_heads: Annotated[int, integers(1, 1000)] = 10
    n_repeats: Annotated[int, integers(1, 1000)] = 1
    entropy_weight: Positive = 1.0
    scale: Literal["auto", "standard", "roots"] | None = "auto"
    init: Literal["merge", "random"] = "merge"
    max_epochs: Literal["auto"] | Count = "auto"  # type: ignore[assignment]
    batch_size: Count = 1000
    learning_rate: Positive = 3e-3
    image_shape: tuple | list | None = None

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, groups: Any = None, auxiliary: Any = None, graph: Any = None) -> Self:
        """Learn the clusters.

        Parameters
        ----------
        groups : array-like of shape (n,), default=None
            The clip of each frame, for ``pairs="temporal"``. With None, all frames form one clip, and a warning is
            issued if consecutive frames are not more similar than random frames. In a Pipeline, request ``groups``
            with ``set_fit_request(groups=True)``.
        auxiliary : array-like of shape (n,), default=None
            True for samples (or explicit pairs) that may not belong to any cluster. They train only the auxiliary
            heads, which requires ``n_overclusters``. In a Pipeline, request ``auxiliary`` with
            ``set_fit_request(auxiliary=True)``.

        Raises
        ------
        ValueError
            If X contains NaN or infinite values, if there are fewer samples or pairs than clusters, if ``batch_size``
            is smaller than ``n_clusters``, if ``pairs`` does not suit the samples, or if ``graph`` is not sparse or has
            another shape.

        Warns
        -----
        ConvergenceWarning
            If clusters are empty, or if the clusters of paired samples share almost no information.
        UserWarning
            If ``pairs="temporal"``, ``groups`` is None and the samples do not look like frames in temporal order.
        """
        self._train(X, groups=groups, auxiliary=auxiliary, graph=graph)
        self._warn()
        return self

    def fit_predict(self, X: Any, y: Any = None, groups: Any = None, auxiliary: Any = None, graph: Any = None) -> Any:
        """Learn the clusters, and return the cluster of each sample.

        Returns
        -------
        array of shape (n,)
            ``labels_``, with the array type of X.
        """
        labels = self.fit(X, groups=groups, auxiliary=auxiliary, graph=graph).labels_
        return self._reader.kind_of(X).wrap(labels)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, groups: Any = None, auxiliary: Any = None, graph: Any = None) -> Self:
        """Train for one pass over a part of the samples. Pairs are formed within the part."""
        self._train(X, groups=groups, auxiliary=auxiliary, graph=graph, partial=True)
        return self

    def score(self, X: Any, y: Any = None, groups: Any = None, graph: Any = None) -> float:
        """Mutual information of the clusters of pairs of these samples in nats, at most ln k.

        Pairs are formed as in `fit`, with random numbers from ``random_state``.

        Returns
        -------
        float
        """
        samples = samples_of(self._read(X))
        network = self._network(samples)
        generator = torch_generator(self.random_state)
        source = self._source(samples, network.scaling, generator, groups=groups, graph=graph)
        pairs = torch.arange(len(source), device=samples.device)
        joint = measure(network, source, pairs, draws_for(pairs))
        return float(joint_information(joint)[self.best_head_].clamp_min(0))

    @property
    def _reader(self):
        return PAIRS if self.pairs == "explicit" else SAMPLES

    def _new_scaling(self, samples, seed, *, searches):
        """The `Scaling` of the samples of a new fit; whether their neighbours are searched after scaling."""
        if samples.ndim == 4:
            return Scaling.of(samples, None)
        if self.scale != "auto":
            return Scaling.of(samples, self.scale)
        generator = torch.Generator().manual_seed(seed)  # the random numbers of the training stay the same

        def information(rows):
            partners = nearest_partners(rows, self.n_neighbors, n_clusters=self.n_clusters)
            return information_of_walks(PartnerPairs(rows, partners, generator, most_steps=MOST_STEPS), rows)

        compares = searches and self._kind_of_pairs(samples) == "neighbors"
        return Scaling.of(samples, choose_scaling(samples, information if compares else None, generator))

    def _check_numbers(self, n):
        what = "pairs" if self.pairs == "explicit" else "samples"
        if n < self.n_clusters:
            raise ValueError(
                f"n_{what}={n} should be >= n_clusters={self.n_clusters}. Pass more {what}, or lower n_clusters"
            )
        if self.batch_size < self.n_clusters:
            raise ValueError(
                f"batch_size={self.batch_size} should be >= n_clusters={self.n_clusters}. Raise batch_size"
            )
        check_size((self.n_overclusters or 0) ** 2, n_overclusters=self.n_overclusters)

    def _data(self, given, y, generator, *, reset, groups, auxiliary, graph):
        samples = samples_of(given)
        firsts = samples[::2] if given.in_pairs else samples
        auxiliary = self._auxiliary(auxiliary, len(firsts), samples.device)
        self._check_numbers(
            len(firsts) if auxiliary is None else int((~auxiliary).sum()) // (2 if given.in_pairs else 1)
        )
        if reset:
            searches = graph is None and self.neighbors is None
            scaling = self._new_scaling(samples, generator.initial_seed(), searches=searches)
        else:
            scaling = self._network(samples).scaling
        source = self._source(samples, scaling, generator, groups=groups, auxiliary=auxiliary, graph=graph)
        if self.pairs == "temporal" and groups is None:
            warn_of_shuffled(samples, type(self).__name__)
        main = torch.arange(len(source), device=samples.device) if auxiliary is None else source.without(auxiliary)
        if len(main) == 0:
            raise ValueError(
                "every pair contains an auxiliary sample, but the main heads need other pairs. Mark fewer samples"
            )
        return _Pairs(samples, firsts, source, main, scaling)

    def _identity(self, data):
        identity = {"samples": [data.samples], "groups or auxiliary samples": [data.source.rows, data.main]}
        return identity | ({"neighbours": [*data.source.graph]} if isinstance(data.source, GraphPairs) else {})

    def _n_epochs(self, data):
        if self.max_epochs != "auto":
            return self.max_epochs
        is_near = data.samples.ndim == 2 and self.init == "merge"  # the merged clusters are almost the final ones
        a_pass = math.ceil(len(data.main) / self.batch_size)
        fewest = min(_FEWEST_EPOCHS, math.ceil(_STEPS / a_pass)) if is_near else _FEWEST_EPOCHS
        return max(fewest, math.ceil((_FEW_STEPS if is_near else _STEPS) / a_pass))

    def _reseed(self, generator, before):
        generator.manual_seed(generator.initial_seed() + before)  # views and order differ from earlier epochs

    def _module(self, data, generator):
        network = self._start(data.samples, data.scaling, generator)
        network.draw_from(generator)
        return network

    def _restored(self, data, generator):
        network = self._network(data.samples)
        network.draw_from(generator)
        return network

    def _pretrain(self, network, data):
        if self.init == "merge":
            source, main, weight = data.source, data.main, self.entropy_weight
            rescale = network.scaling if data.samples.ndim == 2 else lambda rows: rows
            sizes = self.n_clusters, self.n_heads
            settings: Any = {"entropy_weight": weight, "rescale": rescale}
            labels = in_smaller_chunks(lambda: merged_labels(source, main, *sizes, **settings), source.generator)
            steps: Any = {"batch_size": self.batch_size, "learning_rate": self.learning_rate}
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
        try:
            joint = measure(network, source, data.main, draws_for(data.main))
        finally:  # so that exporting the model for a callback does not change later random numbers
            source.generator = generator
        best = int(network.losses(joint).argmin())
        information = joint_information(joint).clamp_min(0).cpu().numpy()
        state = {
            "network": {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()},
            "n_trunk_features": network.heads.linear.in_features,
            "n_channels": samples.shape[-1] if samples.ndim == 4 else None,
            "sample_shape": list(samples.shape[1:]),
            "best_head": best,
            "labels": compute(network, data.firsts, lambda x: network.heads(x)[:, best].argmax(1)).cpu().numpy(),
            "mutual_information": information,
            "mutual_information_ratio": information / max_entropy(self.n_clusters),
            "roots": network.roots,
        }
        network.train()
        return state

    def _warn(self):
        counts = np.bincount(self.labels_, minlength=self.n_clusters)
        ratio = self.mutual_information_ratio_[self.best_head_]
        if ratio < _STUCK and self.n_clusters > 1:
            text = (
                f"the mutual information of pairs is {ratio:.1%} of its maximum, so training never left the uniform "
                "solution. Check the pairs, or raise max_epochs or learning_rate"
            )
        elif not counts.all():
            text = (
                f"{(counts == 0).sum()} of {self.n_clusters} clusters are empty. Raise entropy_weight, batch_size or "
                "max_epochs, or lower n_clusters"
            )
        else:
            return
        warn(f"{type(self).__name__}: {text}", ConvergenceWarning)

    def _start(self, samples, scaling, generator):
        """A network with random weights, on the device of the samples and in their precision."""
        return self._build(tuple(samples.shape[1:]), generator, scaling).to(scale_pixels(samples[:0]))
