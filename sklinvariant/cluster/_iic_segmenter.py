"""Pixels in clusters that survive transformations and that neighbours share (Ji, Henriques, Vedaldi 2019, eq. 5)."""

import functools
import itertools
import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklinvariant._base import (
    DEVICE,
    Container,
    check_fitted,
    keeps_state_on_failure,
    refuse_none,
    resolve_device,
    to_numpy,
    torch_generator,
)
from sklinvariant._compat import CallbackSupportMixin, FitReport, with_callbacks
from sklinvariant._images import as_float, as_pictures, check_pixels
from sklinvariant._training import OPTIMIZERS, train
from sklinvariant.feature_extraction._images import ImageEstimator
from sklinvariant.kernels import dense_information, resample
from sklinvariant.networks import SegmentationNetwork, SegmentationTrunk
from sklinvariant.transforms import ColorJitter, Compose, Flip, Transform
from sklinvariant.transforms._compose import moves

_COUNT = Interval(Integral, 1, None, closed="left")


def predict_tiles(network, images, tile_size):
    """Probabilities (n, k, h, w) of the main head; tiles overlap by what a pixel sees, so that no seam is possible."""
    h, w = images.shape[-2:]
    r = SegmentationTrunk.radius
    answer = None
    for top in range(0, h, tile_size):
        for left in range(0, w, tile_size):
            bottom, right = min(top + tile_size, h), min(left + tile_size, w)
            first_row, first_column = max(top - r, 0), max(left - r, 0)
            seen = network(images[:, :, first_row : bottom + r, first_column : right + r])[0]
            if answer is None:
                answer = seen.new_empty(*seen.shape[:2], h, w)
            answer[:, :, top:bottom, left:right] = seen[
                :, :, top - first_row : bottom - first_row, left - first_column : right - first_column
            ]
    return answer


class CropPairs:
    """Batches of random crops of images with a transformed view of each, in a new order each time.

    An image counts as often as tiles would cover it. What is smaller than the crops is continued by its border, and
    masked there.
    """

    def __init__(self, images, transform, *, tile_size, batch_size, generator):
        self.images, self.transform = images, transform
        self.batch_size, self.generator = batch_size, generator
        sizes = torch.tensor([image.shape[-2:] for image in images])
        self.shape = tuple(sizes.amax(0).clamp_max(tile_size).tolist())
        tiles = (sizes / tile_size).ceil().prod(1).long()
        self.rows = torch.arange(len(images)).repeat_interleave(tiles)

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        order = self.rows[torch.randperm(len(self), generator=self.generator)]
        for index in order.tensor_split(math.ceil(len(self) / self.batch_size)):
            yield self._pair([self._crop(self.images[row]) for row in index.tolist()]), None

    def _crop(self, image):
        """(c, H, W) and (1, H, W), where the image is."""
        room = [max(size - crop, 0) for size, crop in zip(image.shape[-2:], self.shape, strict=True)]
        top, left = (int(torch.randint(most + 1, (), generator=self.generator)) for most in room)
        crop = as_float(image[:, top : top + self.shape[0], left : left + self.shape[1]])
        rest = [crop_size - size for crop_size, size in zip(self.shape, crop.shape[-2:], strict=True)]
        mask = crop.new_ones(1, *crop.shape[-2:])
        if any(rest):
            border = (0, rest[1], 0, rest[0])
            crop = nn.functional.pad(crop[None], border, mode="replicate")[0]
            mask = nn.functional.pad(mask, border)
        return crop, mask

    def _pair(self, crops):
        images, masks = (torch.stack(part) for part in zip(*crops, strict=True))
        params = self.transform.sample(len(images), self.generator)
        views = self.transform._apply(images, params)
        if views.shape != images.shape:
            raise ValueError(f"transforms must keep the images' shape, {images.shape[1:]} became {views.shape[1:]}")
        return Pair(images, views, masks, torch.linalg.inv(moves(self.transform, params, self.shape)))


class Pair:
    """Images (n, c, h, w), views of them, masks (n, 1, h, w) and the matrices that take views back (n, 3, 3)."""

    def __init__(self, images, views, masks, back):
        self.images, self.views, self.masks, self.back = images, views, masks, back

    def __len__(self):
        return len(self.images)


class DenseInformation(nn.Module):
    """Called with a `Pair` it gives minus the information between both predictions, summed over heads (eq. 5)."""

    def __init__(self, network, shift, scale, half_window, average, entropy_weight):
        super().__init__()
        self.network, self.half_window = network, half_window
        self.average, self.entropy_weight = average, entropy_weight
        self.shift, self.scale = shift, scale

    def forward(self, pair):
        images = (torch.cat([pair.images, pair.views]) - self.shift) / self.scale
        loss = 0.0
        for heads in self.network(images):
            first, second = heads.tensor_split(2)
            # pixels that left the image come back as 0, and so have no weight in the joint distribution
            second = resample(second, pair.back)
            loss = loss - dense_information(
                first * pair.masks,
                second * pair.masks,
                self.half_window,
                average=self.average,
                entropy_weight=self.entropy_weight,
            )
        return loss


class IICSegmenter(CallbackSupportMixin, ImageEstimator):
    """A cluster for each pixel, learned without labels: predictable from the pixel's neighbours and under transforms.

    A small convolutional network gives each pixel u probabilities Φ_u(x) of k clusters. It learns by maximising the
    mutual information of ``P_t = E[Φ_u(x) · [g⁻¹Φ(gx)]_{u+t}ᵀ]`` (equation 5), over random transformations g and all
    displacements t of at most ``half_window`` pixels. What looks alike wherever it is displaced and transformed gets
    one cluster, and clusters become about equally large.

    Parameters
    ----------
    n_clusters : int, default=8
        k.
    n_overclusters : int or None, default=None
        Clusters of an auxiliary head that trains the same trunk and is dropped afterwards. None takes 3 n_clusters; 0
        leaves it out.
    half_window : int, default=3
        Largest displacement along each axis, in pixels. Larger gives larger and smoother regions; the cost grows by
        its square.
    average : {"information", "joint"}, default="information"
        Average the information over displacements, or average the joint distributions first, which is quicker.
    entropy_weight : float, default=1.5
        Weight λ of the clusters' entropy: 1 is mutual information, above it prefers clusters of equal size, so that
        fewer runs end with a cluster that no pixel takes. The paper has 1.5 for two of its sets, and 1 for the others.
    transforms : Transform or None, default=None
        Where views come from. Geometric ones are undone in the prediction, others are not. None mirrors and, of images
        with 1 or 3 channels, changes brightness, contrast and colour.
    width : int, default=16
        Channels of the network's layers.
    tile_size : int, default=128
        Side of the crops that are trained on and of the tiles that are predicted at a time, in pixels. It bounds
        memory; predictions do not depend on it.
    image_shape : tuple or None, default=None
        (h, w) or (h, w, c) of flat rows; None takes a row for an image one pixel high.
    max_epochs : int, default=20
        Passes over the images.
    batch_size : int, default=4
        Crops a step, at most.
    learning_rate : float, default=0.01
        Step of Adam; it falls to 0 along half a cosine.
    callbacks : list of skorch callbacks or None, default=None
        Called during training.
    verbose : int, default=0
        1 shows a bar of epochs.
    random_state : int, RandomState or None, default=None
        Seeds weights, crops, transformations and order.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.

    Attributes
    ----------
    history_ : list of dict
        Epoch, loss and seconds of each. The loss is minus the information in nats, with
        entropies weighted, summed over the heads.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int
        Numbers in a row, or in the first image; images of other sizes may be predicted all the same.

    Notes
    -----
    It has no ``labels_`` and no ``fit_predict``, which scikit-learn's tools take for one cluster a sample: here a
    sample is an image, and each pixel has a cluster. The paper trains the auxiliary head in epochs of its own; here
    both heads take part in each step. The network is smaller than the paper's and keeps every pixel.

    References
    ----------
    Ji, Henriques, Vedaldi (2019). Invariant Information Clustering for Unsupervised Image Classification and
    Segmentation. Equation 5.

    Examples
    --------
    >>> from sklinvariant.cluster import IICSegmenter
    >>> from sklinvariant.datasets import make_textures
    >>> images, masks = make_textures(4, size=32, random_state=0)
    >>> model = IICSegmenter(4, half_window=1, width=8, max_epochs=2, random_state=0).fit(images)
    >>> model.predict(images).shape, model.predict_proba(images).shape
    ((4, 32, 32), (4, 32, 32, 4))
    """

    _parameter_constraints = {
        "n_clusters": [_COUNT],
        "n_overclusters": [Interval(Integral, 0, None, closed="left"), None],
        "half_window": [Interval(Integral, 0, None, closed="left")],
        "average": [StrOptions({"information", "joint"})],
        "entropy_weight": [Interval(Real, 0, None, closed="left")],
        "transforms": [Transform, None],
        "width": [_COUNT],
        "tile_size": [_COUNT],
        "image_shape": [tuple, list, None],
        "max_epochs": [_COUNT],
        "batch_size": [_COUNT],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "callbacks": [list, tuple, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "device": DEVICE,
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        n_overclusters=None,
        half_window=3,
        average="information",
        entropy_weight=1.5,
        transforms=None,
        width=16,
        tile_size=128,
        image_shape=None,
        max_epochs=20,
        batch_size=4,
        learning_rate=0.01,
        callbacks=None,
        verbose=0,
        random_state=None,
        device="auto",
    ):
        self.n_clusters = n_clusters
        self.n_overclusters = n_overclusters
        self.half_window = half_window
        self.average = average
        self.entropy_weight = entropy_weight
        self.transforms = transforms
        self.width = width
        self.tile_size = tile_size
        self.image_shape = image_shape
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    @keeps_state_on_failure
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the clusters.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images: whole numbers 0-255 (read as 0-1) or floats. Those of a list may differ in size.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For NaN, infinite values, images of different numbers of channels, and transforms that change the shape.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.
        """
        images = self._channels_first(X, reset=True)
        like = as_float(images[0])
        generator = torch_generator(self.random_state)
        extra = 3 * self.n_clusters if self.n_overclusters is None else self.n_overclusters
        heads = [self.n_clusters, extra] if extra else [self.n_clusters]
        shift, scale = channel_spread(images)
        network = SegmentationNetwork.start(len(like), self.width, heads, generator).to(like)
        objective = DenseInformation(network, shift, scale, self.half_window, self.average, self.entropy_weight)
        batches = CropPairs(
            images,
            _default_transforms(len(like)) if self.transforms is None else self.transforms,
            tile_size=self.tile_size,
            batch_size=self.batch_size,
            generator=generator,
        )

        def export(objective):
            learned = {name: value.cpu().numpy().copy() for name, value in network.state_dict().items()}
            state = {
                "weights": learned,
                "shift": shift.cpu().numpy(),
                "scale": scale.cpu().numpy(),
                "heads": heads,
                "n_channels": len(like),
                "namespace": Container(X).name,
            }
            return {"_state": state, "n_iter_": 0, "history_": []}

        report = FitReport(self, X, None, None, self.max_epochs)
        self.history_ = train(
            objective,
            batches,
            name=type(self).__name__,
            max_epochs=self.max_epochs,
            optimizer=OPTIMIZERS["adam"],
            learning_rate=self.learning_rate,
            learning_rate_decay="cosine",
            tol=None,
            n_iter_no_change=self.max_epochs,
            report=report,
            fitted_attributes=export,
            callbacks=self.callbacks or (),
            verbose=self.verbose,
        )
        report.end(lambda: export(objective))
        self._state = export(objective)["_state"]
        self.n_iter_ = len(self.history_)
        return self

    def predict(self, X):
        """The most probable cluster of each pixel.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images as in `fit`, of any size.

        Returns
        -------
        int64 array of shape (n, h, w), or list of n arrays (h, w)
            A list where X is a list of images of different sizes.
        """
        container = check_fitted(self, "predict", X)
        return _gathered([part.argmax(1) for part in self._probabilities(X)], container)

    def predict_proba(self, X):
        """Probabilities of the clusters for each pixel.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images as in `fit`, of any size.

        Returns
        -------
        array of shape (n, h, w, n_clusters), or list of n arrays (h, w, n_clusters)
            A list where X is a list of images of different sizes.
        """
        container = check_fitted(self, "predict_proba", X)
        return _gathered([part.permute(0, 2, 3, 1) for part in self._probabilities(X)], container)

    @torch.no_grad()
    def _probabilities(self, X):
        """(b, k, h, w) for each run of at most ``batch_size`` images of one size."""
        images = self._channels_first(X, reset=False)
        like = as_float(images[0][:0])
        state = self._state
        # as numbers of its own: the weights are those of a model that may be mapped from a file
        weights = {name: torch.tensor(np.asarray(value)) for name, value in state["weights"].items()}
        width = weights["trunk.0.weight"].shape[0]
        network = SegmentationNetwork.start(state["n_channels"], width, state["heads"], torch.Generator())
        network.load_state_dict(weights)
        network.to(like).eval()
        shift, scale = (torch.tensor(np.asarray(state[name])).to(like) for name in ("shift", "scale"))
        for run in _runs(images, self.batch_size):
            yield predict_tiles(network, (as_float(torch.stack(run)) - shift) / scale, self.tile_size)

    def _channels_first(self, X, *, reset):
        """A list of (c, h, w) tensors of one dtype on the device that computes; images in a list may differ in size."""
        refuse_none(self, X, "images")
        pictures = as_pictures(X)
        if pictures is None and getattr(X, "ndim", 2) in (3, 4):
            pictures = self._read_array(X, reset)
        elif pictures is None:
            pictures = self._read(X, reset=reset)
        elif reset:
            self.n_features_in_ = pictures[0].numel()
            vars(self).pop("feature_names_in_", None)
        pictures = [image if image.ndim == 3 else image[..., None] for image in pictures]
        expected = pictures[0].shape[-1] if reset else self._state["n_channels"]
        for i, image in enumerate(pictures):
            if image.shape[-1] != expected:
                raise ValueError(
                    f"image {i} has {image.shape[-1]} channel(s), but {type(self).__name__} "
                    f"{'is given' if reset else 'was fitted on'} images of {expected}"
                )
        if len({image.dtype for image in pictures}) > 1:
            pictures = [as_float(image) for image in pictures]
        dtype = functools.reduce(torch.promote_types, (image.dtype for image in pictures))
        device = resolve_device(self.device, X[0] if isinstance(X, (list, tuple)) else X)
        return [image.permute(2, 0, 1).to(device, dtype) for image in pictures]

    def _read_array(self, X, reset):
        if not reset and X.ndim in (3, 4) and 0 not in X.shape:  # of any size: nothing to compare with what was fitted
            images = check_pixels(X if isinstance(X, torch.Tensor) else to_numpy(X))
            return images if images.ndim == 4 else images[..., None]
        return super()._read_array(X, reset)


def channel_spread(images):
    """Mean and standard deviation of each channel over all pixels, (c, 1, 1) each; 1 for what is constant."""
    count = sum(image[0].numel() for image in images)
    mean = sum(as_float(image).double().sum((1, 2)) for image in images) / count
    square = sum((as_float(image).double() - mean[:, None, None]).square().sum((1, 2)) for image in images) / count
    scale = torch.where(square > 0, square, 1.0).sqrt()
    dtype = as_float(images[0][:0]).dtype
    return mean[:, None, None].to(dtype), scale[:, None, None].to(dtype)


def _default_transforms(n_channels):
    return Compose([Flip(), ColorJitter(clip=False)]) if n_channels in (1, 3) else Flip()


def _runs(images, most):
    """Lists of at most so many images of one size that follow each other."""
    for _, run in itertools.groupby(images, lambda image: image.shape):
        run = list(run)
        yield from (run[start : start + most] for start in range(0, len(run), most))


def _gathered(parts, container):
    """One array where all images have one size, else a list of arrays."""
    if len({part.shape[1:] for part in parts}) == 1:
        return container.wrap(torch.cat(parts))
    return [container.wrap(image) for part in parts for image in part]
