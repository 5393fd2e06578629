"""Segmentation without labels: a cluster for each pixel (Ji, Henriques, Vedaldi 2019, eq. 5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._warnings import warn
from sklinvariant.accumulate import channel_spread
from sklinvariant.base import (
    Count,
    CountOrZero,
    NonNegative,
    OnDevice,
    check_size,
    declared,
    integers,
)
from sklinvariant.cluster._segmentation._fitted_segmentation import FittedSegmentation, ScaledImages, images_of
from sklinvariant.cluster._segmentation._pixel_mixture import choose_mixture
from sklinvariant.cluster._segmentation._segmentation_objective import DenseInformation
from sklinvariant.cluster._segmentation._segmentation_trunk import SegmentationNetwork
from sklinvariant.images import scale_pixels
from sklinvariant.pairs import CropPairs
from sklinvariant.training import TrainedEstimator, WithOptimizer
from sklinvariant.transforms import Flip, Transform

_STUCK = 0.05  # share of ln k below which training has probably failed
_EPOCHS = 20  # with max_epochs="auto" and random heads
_STEPS = 30  # with max_epochs="auto" and heads that start from a mixture
_SLOWER = 0.3  # factor of the learning rate with heads that start from a mixture
_CORRECTION = 0.1  # factor of the initial weights of these heads


@dataclass
class _Pairs(ScaledImages):
    """Images to train on, and pairs of their crops.

    ``counts`` (k,), the number of pixels in each cluster, is set when the model is exported.
    """

    crops: CropPairs
    counts: np.ndarray | None = None


@declared
class IICSegmenter(OnDevice, WithOptimizer, TrainedEstimator, FittedSegmentation):
    r"""Segmentation without labels: clusters that are predictable from neighbouring pixels and transformed images.

    A small convolutional network predicts the probabilities Φ of k clusters for each pixel u of an image x. It
    maximises the mutual information of the joint distribution (equation 5)

    .. math:: P_t = E\left[\Phi_u(x) \left[g^{-1} \Phi(g x)\right]_{u+t}^T\right]

    over random transformations g and all displacements t of at most ``half_window`` pixels. Regions that look alike at
    all positions and after all transformations get the same cluster. With ``init="random"``, clusters have about the
    same size over all images.

    Compare it with k-means and a Gaussian mixture of the pixels, which take a fraction of the time. On some mosaics of
    photographs a mixture is more accurate, and on photographs of clothes k-means is as accurate.

    Parameters
    ----------
    n_clusters : int
        Number of clusters k.
    n_overclusters : int or None
        Number of clusters of an auxiliary head, which trains the same trunk and is not used for predictions. None is
        3 n_clusters; 0 disables the auxiliary head.
    n_heads : int
        Number of main heads, which have different initial weights. The head with the lowest loss gives the clusters.
    half_window : int
        Largest displacement along each axis, in pixels. Higher values give larger and smoother regions. The cost grows
        with the square of this value.
    average : {"information", "joint"}
        "information" averages the mutual information over displacements. "joint" averages the joint distributions
        first, which is faster.
    entropy_weight : float
        Weight λ of the entropy of the clusters. 1 is the mutual information. Higher values favour clusters of equal
        size and help to prevent empty clusters. The paper uses 1.5 for two of its data sets, and 1 for the others.
    transforms : Transform or None
        Transformation that generates the views. Geometric transforms are undone in the prediction. None mirrors the
        images. Use changes of light and colour, ``Compose([Flip(), ColorJitter(clip=False)])``, only if the light
        carries no information about the classes. Otherwise they lower the accuracy, and training takes longer to leave
        the uniform solution.
    width : int
        Number of channels of the layers of the network.
    tile_size : int
        Side in pixels of the crops used for training and of the tiles used for prediction. It bounds the memory.
        Predictions of a fitted model do not depend on it.
    init : {"auto", "mixture", "random"}
        Initialisation of the main heads. "mixture": a Gaussian mixture of the logarithms of the channels of a pixel. If
        the images have a common layout (the row of a pixel tells more than 5 % about its component, also in other
        images), the mixture also contains the row, and the logarithms are relative to their mean over the image. The
        network learns a correction of the mixture in few steps with 0.3 of ``learning_rate``. "random" is the
        initialisation of the paper, for textures. "auto" is "mixture" if the components of pixels within a distance of
        3 share at least 10 % of their entropy, and no smaller share than the textures of adjacent blocks of 7 × 7
        pixels, and otherwise "random". These textures are clusters of the standard deviation of a block and of its mean
        steps along both axes. `partial_fit` and ``warm_start`` keep the initialisation of the first fit, also if this
        parameter has changed.
    image_shape : tuple or None
        Shape (h, w) or (h, w, c) of images given as flat rows. None treats a row as an image of height 1.
    max_epochs : int or "auto"
        Maximum number of passes over the images. "auto" is 20 with random heads and, with heads that start from a
        mixture, as many as 30 training steps need.
    batch_size : int
        Maximum number of crops in a training step.
    tol : float or None
        Training stops when the loss, in nats, has not decreased by more than this value for ``n_iter_no_change``
        epochs. None disables this criterion, so that the learning rate decays to its end.
    random_state : int, RandomState or None
        Seed of the initial weights, the crops, the transformations and the order of images.

    Attributes
    ----------
    labels_ : int32 array of shape (n, h, w), or list of n arrays (h, w)
        Clusters of the pixels of the images of the last fit; a list if the images differ in size. They take a pass over
        all images at the end of the fit, because training sees random crops alone.
    mutual_information_ : array of shape (n_heads,)
        Mutual information of each main head in nats, with λ = 1, over random crops and views as in training.
    mutual_information_ratio_ : array of shape (n_heads,)
        Mutual information divided by its maximum ln k; 0 for a single cluster.
    best_head_ : int
        Index of the head with the lowest loss, which is chosen without labels.
    init_ : {"mixture", "random"}
        The start of the main heads, which ``init="auto"`` chooses.
    history_ : list of dict
        Number, loss and seconds of each epoch. The loss is the negative mutual information in nats, with weighted
        entropies: the mean over the main heads plus the value of the auxiliary head. "loss_ratio" is the loss divided
        by its lower bound -(2 λ - 1) ln k, summed over both kinds of heads: 1 if neighbouring pixels always have the
        same cluster and all clusters are of equal size. It is missing if λ ≤ 1/2.
    n_features_in_ : int
        Number of values of a row or of the first image. Images of other sizes can be predicted as well.

    See Also
    --------
    IICClusterer : Clusters whole images.

    Notes
    -----
    There is no ``fit_predict``, because scikit-learn's tools expect one cluster per sample. Here a sample is an image,
    and each pixel has a cluster.

    The paper differs in four points: it has one main head, trains the auxiliary head in separate epochs, starts from
    random heads (``init="random"``), and adds Sobel derivatives to the colours. Here all heads are trained in each
    step, and the network is smaller and keeps the resolution of the images. Its first layer can learn derivatives.

    ``init="auto"`` can choose the mixture although only texture separates the classes, such as wide stripes, whose
    colours tell much about those of neighbouring pixels. If ``init_`` is "mixture", look at the segments, and for such
    images fit with ``init="random"``.

    Use another method where the colours of pixels are a poor start: on one of two sets of mosaics of photographs, a
    Gaussian mixture of plain pixels is more accurate, and on the grey one k-means on local statistics. On streets, this
    class is.

    With ``init="random"``, a prediction depends only on the pixels within a distance of 10. With a mixture of images
    that have a common layout, it also depends on the row of the pixel and on the mean colour of the image, so predict
    whole images, not parts of them.

    References
    ----------
    Ji, Henriques, Vedaldi (2019). Invariant Information Clustering for Unsupervised Image Classification and
    Segmentation. Equation 5.

    Examples
    --------
    >>> from sklinvariant.cluster import IICSegmenter
    >>> from sklinvariant.datasets import make_textures
    >>> images, masks = make_textures(4, image_size=32, n_textures=2, random_state=0)
    >>> model = IICSegmenter(2, half_window=1, width=8, max_epochs=20, random_state=0).fit(images)
    >>> model.predict(images).shape, model.predict_proba(images).shape
    ((4, 32, 32), (4, 32, 32, 2))
    """

    n_clusters: Count = 8
    _: KW_ONLY
    n_overclusters: CountOrZero | None = None
    n_heads: Annotated[int, integers(1, 1000)] = 5
    half_window: CountOrZero = 3
    average: Literal["information", "joint"] = "information"
    entropy_weight: NonNegative = 1.5
    transforms: Transform | Callable | None = None
    width: Count = 16
    tile_size: Count = 128
    init: Literal["auto", "mixture", "random"] = "auto"
    image_shape: tuple | list | None = None
    max_epochs: Count | Literal["auto"] = "auto"  # type: ignore[assignment]
    batch_size: Count = 4

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the clusters.

        Raises
        ------
        ValueError
            If X contains NaN, infinite values or images with different numbers of channels, if ``transforms`` change
            the shape of images, or if ``warm_start=True`` but the previous fit had another network.

        Warns
        -----
        ConvergenceWarning
            If clusters are empty, or if the clusters of neighbouring pixels share almost no information.
        """
        self._warn(self._train(X).counts)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one pass over a part of the images.

        Those of the first call determine the scale of the channels and, unless ``init="random"``, the mixture. Later
        calls keep both.
        """
        self._train(X, partial=True)
        return self

    def _data(self, given, y, generator, *, reset):
        transform, images = self._invertible_transform(), images_of(given)
        first = scale_pixels(images[0])
        shift, scale = channel_spread(images) if reset else self._fitted_tensors(first, "shift", "scale")
        extra = self._n_auxiliary()
        most = max(extra, self.n_clusters)  # there is one joint matrix of this size for each displacement
        sizes = {"n_clusters": self.n_clusters, "n_overclusters": extra, "half_window": self.half_window}
        check_size(most**2 * (2 * self.half_window + 1) ** 2, **sizes)
        check_size(self.width**2, width=self.width)
        mixture = self._new_mixture(images, generator) if reset else self._mixture(first)
        crops = CropPairs(
            images,
            transform,
            tile_size=self.tile_size,
            batch_size=self.batch_size,
            generator=generator,
            start=None if mixture is None else [mixture.on(image) for image in images],
        )
        return _Pairs(images, shift, scale, mixture, crops)

    def _invertible_transform(self):
        if self.transforms is None:
            return Flip()
        if isinstance(self.transforms, Transform):
            return self.transforms
        raise ValueError(
            f"transforms={self.transforms!r:.200} cannot be inverted, but {type(self).__name__} compares pixels of "
            "transformed images with those that they came from. Pass a Transform of sklinvariant.transforms"
        )

    def _new_mixture(self, images, generator):
        if self.init == "random":
            return None
        # a generator of its own, so that random heads are those of init="random"; without a random_state its seed is
        # fixed, so that a fit that resumes from a checkpoint starts from the same mixture
        own = torch.Generator().manual_seed(0 if self.random_state is None else generator.initial_seed())
        return choose_mixture(images, self.n_clusters, own, force=self.init == "mixture")

    def _n_epochs(self, data):
        if self.max_epochs != "auto":
            return self.max_epochs
        return _EPOCHS if data.mixture is None else math.ceil(_STEPS / data.crops.n_steps)

    def _first_learning_rate(self, data):
        return self.learning_rate * (1.0 if data.mixture is None else _SLOWER)

    def _n_auxiliary(self):
        return 3 * self.n_clusters if self.n_overclusters is None else self.n_overclusters

    def _heads(self):
        """Number of clusters of each head."""
        extra = self._n_auxiliary()
        return [self.n_clusters] * self.n_heads + [extra] * (extra > 0)

    def _identity(self, data):
        return {"samples": data.images}

    def _module(self, data, generator):
        network = SegmentationNetwork.start(len(data.shift), self.width, self._heads(), generator)
        if data.mixture is not None:
            network.heads.weight.data[: self.n_heads * self.n_clusters] *= _CORRECTION
        return self._objective(network.to(data.shift), data)

    def _restored(self, data, generator):
        return self._objective(self._network(data.shift, self._heads(), self.width), data)

    def _objective(self, network, data):
        settings = self.half_window, self.average, self.entropy_weight
        return DenseInformation(network, self.n_heads, data.shift, data.scale, *settings)

    def _batches(self, data, generator):
        return data.crops

    def _export(self, objective, data):
        information, losses, counts = self._measured(objective, data.crops)
        best = int(losses.argmin())
        data.counts = counts[best]
        weights = objective.network.state_dict()
        return {
            "weights": {name: value.cpu().numpy().copy() for name, value in weights.items()},
            "shift": data.shift.cpu().numpy(),
            "scale": data.scale.cpu().numpy(),
            "heads": self._heads(),
            "width": self.width,
            "best_head": best,
            "mutual_information": information,
            "mutual_information_ratio": information / (math.log(self.n_clusters) or 1.0),  # 0 for a single cluster
            "n_channels": len(data.shift),
            "labels": self._labels(objective, data, best),
            "mixture": None if data.mixture is None else data.mixture.state(),
        }

    def _labels(self, objective, data, head):
        """The clusters of all pixels. This takes another pass, because `_measured` sees random crops."""
        runs = self._of_pixels(objective.network, data, head, lambda probabilities: probabilities.argmax(1))
        arrays = [label for run in runs for label in run.to(torch.int32).cpu().numpy()]
        objective.train()
        return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else arrays

    def _measured(self, objective, crops):
        generator = crops.generator
        crops.generator = torch.Generator().manual_seed(generator.initial_seed())
        try:
            result = objective.measure(crops)
        finally:  # so that exporting the model for a callback does not change later random numbers
            crops.generator = generator
        return [values.cpu().numpy() for values in result]

    def _warn(self, counts):
        ratio = self.mutual_information_ratio_[self.best_head_]
        if self.n_clusters == 1:
            return
        if ratio < _STUCK:
            text = f"the mutual information of neighbours is {ratio:.1%} of its maximum, so "
            if self._state["mixture"] is None:
                text += (
                    "training never left the uniform solution. Check the images, or raise max_epochs or learning_rate"
                )
            else:
                text += (
                    'the clusters of neighbouring pixels are almost unrelated. Check the images, or set init="random"'
                )
        elif not counts.all():
            text = (
                f"{(counts == 0).sum()} of {self.n_clusters} clusters are empty. Raise entropy_weight or max_epochs, "
                "or lower n_clusters"
            )
        else:
            return
        warn(f"{type(self).__name__}: {text}", ConvergenceWarning)
