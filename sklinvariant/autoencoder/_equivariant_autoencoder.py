"""Features that do not change under a finite group, with the pose kept apart, learned by rebuilding images.

After Kuzminykh, Polykovskiy & Zhebrak (2018).
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant.autoencoder._equivariant_network import EquivariantAutoencoderNetwork, count_features
from sklinvariant.base import (
    Array,
    Count,
    Each,
    Fields,
    FittedState,
    Flag,
    Maybe,
    NonNegative,
    OnDevice,
    OutputReader,
    Text,
    TorchEstimator,
    Weights,
    Whole,
    check_size,
    declared,
    keeps_state_on_failure,
    restore_weights,
    to_numpy,
)
from sklinvariant.images import ImageReader, scale_pixels
from sklinvariant.networks import Group
from sklinvariant.training import RowBatches, TrainedEstimator, WithOptimizer

_FEATURES = OutputReader("features")
_AT_ONCE = 256  # images; results do not depend on it


class ReconstructionLoss(nn.Module):
    """Called with images (n, c, h, w), floats or uint8, it gives the mean error of a value, expected over the pose.

    ``Σ_g p_g ‖D(f) - g⁻¹ x‖²``: the features f are decoded in the canonical pose, and the image is turned back by every
    g. So p learns by how much better one pose does than another, and the decoder never sees a mixture of poses, whose
    weights could tell it more than the pose. Errors are squared in units of the variance, or with ``cross_entropy``
    those of a sigmoid, for values in 0-1. Added is the entropy of the mean pose of the images times ``pose_weight``.
    """

    def __init__(self, network, shift, scale, cross_entropy=False, pose_weight=0.0):
        super().__init__()
        self.network, self.cross_entropy, self.pose_weight = network, cross_entropy, pose_weight
        self.shift, self.scale = shift, scale

    def forward(self, images):
        network, group = self.network, self.network.group
        images = scale_pixels(images)
        x = (images - self.shift) / self.scale
        embedding, pose = network.encode(x)
        features = network.features(embedding, pose)
        target = images if self.cross_entropy else x
        if network.pooling is None:
            return self._errors(network.decode(features, None), target).mean()
        canonical = network.decode(features, pose.new_tensor([1.0] + [0.0] * (group.order - 1)).expand_as(pose))
        errors = [self._errors(canonical, group.act(target, g)) for g in group.inverses.tolist()]
        mean = pose.mean(0)
        entropy = -(mean * mean.clamp_min(1e-6).log()).sum()  # whose slope stays finite
        return (pose * torch.stack(errors, dim=1)).sum(1).mean() + self.pose_weight * entropy

    def _errors(self, rebuilt, target):
        """(n,)"""
        if self.cross_entropy:
            errors = nn.functional.binary_cross_entropy_with_logits(rebuilt, target, reduction="none")
        else:
            errors = (rebuilt - target).square()
        return errors.mean((1, 2, 3))


def channel_spread(images):
    """Mean and standard deviation of each channel of images (n, c, h, w), (c, 1, 1) each; 1 for what is constant."""
    count = images[:, 0].numel()
    low, high = (scale_pixels(bound(images, (0, 2, 3))).double()[:, None, None] for bound in (torch.amin, torch.amax))
    span = torch.where(high > low, high - low, 1.0)  # in units of it nothing overflows, and what is constant is 0

    def mean_of(function):
        parts = ((scale_pixels(part).double() - low) / span for part in images.split(_AT_ONCE))
        return sum(function(part).sum((0, 2, 3)) for part in parts)[:, None, None] / count

    mean = mean_of(lambda part: part)
    deviation = mean_of(lambda part: (part - mean).square()).sqrt()
    mean, scale = low + span * mean, torch.where(high > low, span * deviation, 1.0)
    dtype = scale_pixels(images[:0]).dtype
    return mean.to(dtype), scale.to(dtype)


@contextlib.contextmanager
def full_precision():
    """On a GPU convolutions round their input to TF32, with which features would only stay the same to 1e-3."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.no_grad()
def usual_pose(network, images, shift, scale):
    """The pose that most images (n, c, h, w) have."""
    network.eval()
    poses = [network.encode((scale_pixels(part) - shift) / scale)[1].argmax(1) for part in images.split(_AT_ONCE)]
    return int(torch.cat(poses).bincount().argmax())


def to_pixels(rebuilt, shift, scale, cross_entropy):
    """What the decoder gives, on the images' own scale."""
    return rebuilt.sigmoid() if cross_entropy else rebuilt * scale + shift


@torch.no_grad()
def reconstruction_error(network, images, shift, scale, cross_entropy):
    """Mean squared error of a value of images (n, c, h, w), each rebuilt in its likeliest pose."""
    network.eval()
    total = 0.0
    for part in map(scale_pixels, images.split(_AT_ONCE)):
        rebuilt = to_pixels(network((part - shift) / scale), shift, scale, cross_entropy)
        total += float((rebuilt - part).double().square().sum())
    return total / images.numel()


@dataclass
class _Images:
    """Images (n, c, h, w), the mean and standard deviation of their channels, and the shape of one as it came in."""

    images: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    sample_shape: tuple


def _has_pose(estimator):
    fitted = hasattr(estimator, "_state")
    if (estimator._state["architecture"]["pooling"] if fitted else estimator.pooling) is None:
        raise AttributeError("without pooling the embedding holds the pose, and none is told apart")
    return True


@declared
class EquivariantAutoencoder(
    OnDevice,
    OutputReader,
    WithOptimizer,
    TrainedEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    TorchEstimator,
):
    """Features of images that do not change when the image is turned, learned without labels; and the pose.

    Group convolutions make an embedding E (k, order) of an image, an entry for each of k channels and each element of a
    finite group, that is permuted when the image is moved by an element g: ``E(g x)[u] = E(x)[g⁻¹ u]``. A further
    channel is a softmax p over the group that moves alike: the pose. A pooling makes features f of the embedding that
    do not change, and a decoder, of group convolutions too, rebuilds the image from f and the pose alone: what the pose
    does not carry must be in f. Minimised is the expected error, ``Σ_g p_g ‖D(f, g) - x‖²``, and the entropy of the
    mean pose of a step's images, so that images which mostly stand upright agree on what is upright.

    Parameters
    ----------
    latent_channels : int
        k, channels of the embedding.
    group : str
        What shall not matter: "C4" turns by 90 degrees, "D4" also mirror images, "D1" those alone, "C2" half turns;
        under these features are the same to rounding. "C8", "D8", "C16", … turn by smaller angles, under which features
        are about the same, and need images whose corners are as empty as what is around them. "trivial" is an ordinary
        autoencoder.
    pooling : {"attention", "gram", "mean"} or None
        How features are made of the embedding. "attention" turns it back by the pose, ``Σ_g p_g E[g u]``: k · order
        features. "gram" takes products of channels, ``1 / order Σ_u E_i[u] E_j[u]``: k (k + 1) / 2, the off-diagonal
        ones times √2, so that distances are those of matrices. "mean" averages over the group: k. None keeps the
        embedding, k · order numbers that move with the image.
    width : int
        Channels of the first level, each for all elements of the group; they double with each level.
    depth : int
        Levels of convolutions; each halves height and width.
    loss : {"mse", "bce"}
        Squared error in units of the variance, or the cross-entropy of a sigmoid, for values in 0-1.
    pose_weight : float
        Weight of the entropy of the mean pose, in nats. With 0 every kind of image finds a canonical pose of its own,
        and some kinds several. Where images lie in all poses alike there is nothing to agree on, and it makes no
        difference.
    image_shape : tuple or None
        (h, w) or (h, w, c) of flat rows; None takes a row for an image one pixel high.
    max_epochs : int
        Most passes over the images.
    batch_size : int
        Images a step, at most.

    Attributes
    ----------
    embedding_shape_ : tuple
        (latent_channels, order), what `embed` gives of an image.
    elements_ : ndarray of shape (order, 2)
        For each pose how an image in it is mirrored (0 or 1) and then turned (degrees, counter-clockwise) from the
        canonical one.
    reconstruction_error_ : float
        Mean squared error of a value of the images that were fitted, each rebuilt in its likeliest pose.
    history_ : list of dict
        Epoch, loss and seconds of each.
    n_iter_ : int
        Epochs made.
    n_features_in_ : int
        Numbers in an image.

    Notes
    -----
    Of the paper only the abstract was at hand. From it are the equivariant autoencoder, the names and purposes of Gram
    pooling and equivariant attention, and the comparison with mean pooling and an ordinary autoencoder. Ours are the
    formulas above, the decoder that gets features and pose, the expected error (a decoder that is given the weights p
    themselves reads more than a pose from them, and features become worse) and the entropy.

    Pose 0, the canonical one, is that of most images that were fitted: upright, where they stood upright. Of what looks
    the same in several poses, such as a ring, any of them may be told.

    References
    ----------
    Kuzminykh, Polykovskiy, Zhebrak (2018). Extracting Invariant Features From Images Using An Equivariant Autoencoder.
    ACML, PMLR 95:438-453.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.autoencoder import EquivariantAutoencoder
    >>> from sklinvariant.datasets import load_digits_images
    >>> images = load_digits_images().images[:100]
    >>> model = EquivariantAutoencoder(4, width=4, max_epochs=2, random_state=0).fit(images)
    >>> features = model.transform(images)
    >>> features.shape, model.embedding_shape_
    ((100, 16), (4, 4))
    >>> turned = np.rot90(images, axes=(1, 2))
    >>> np.allclose(model.transform(turned), features, atol=1e-4)
    True
    >>> bool(np.mean((model.predict_pose(turned) - model.predict_pose(images)) % 4 == 1) > 0.95)
    True
    >>> model.inverse_transform(features).shape
    (100, 8, 8)
    """

    embedding_shape_ = FittedState("(latent_channels, order).")
    elements_ = FittedState("(order, 2): mirrored, degrees.")

    _reader = ImageReader()
    _layout = {
        "weights": Weights(),
        "architecture": Fields(
            shape=Each(Whole(), 3),
            group=Text(),
            pooling=Maybe(Text("gram", "attention", "mean")),
            latent_channels=Whole(),
            width=Whole(),
            depth=Whole(1, 32),
        ),
        "embedding_shape": Each(Whole(), 2),
        "elements": Array(None, 2),
        "cross_entropy": Flag(),
        "n_channels": Whole(),
        "sample_shape": Each(Whole()),
        "shift": Array("n_channels", 1, 1),
        "scale": Array("n_channels", 1, 1),
    }
    latent_channels: Count = 16
    _: KW_ONLY
    group: str = "C4"
    pooling: Literal["attention", "gram", "mean"] | None = "attention"
    width: Count = 8
    depth: Count = 2
    loss: Literal["mse", "bce"] = "mse"
    pose_weight: NonNegative = 1.0
    image_shape: tuple | list | None = None

    def _check_layout(self):
        state, architecture = self._state, self._state["architecture"]
        order, k, shape = len(state["elements"]), architecture["latent_channels"], architecture["shape"]
        if architecture["group"] not in (f"C{order}", f"D{order / 2:g}") or tuple(state["embedding_shape"]) != (
            k,
            order,
        ):
            raise ValueError(f"an embedding of shape {state['embedding_shape']} does not fit {architecture['group']!r}")
        if shape[0] != state["n_channels"] or math.prod(shape) != math.prod(state["sample_shape"]):
            raise ValueError(f"images of shape {shape} do not fit samples of shape {state['sample_shape']}")
        # the largest layers, before a network of that size is made
        widest = architecture["width"] << (architecture["depth"] - 1)
        side = [-(-length // (1 << architecture["depth"])) for length in shape[1:]]
        expected = {
            f"encoder.{4 * architecture['depth']}.weight": (2 * widest, widest, order, *side),
            f"encoder.{4 * architecture['depth'] + 3}.weight": (k + 1, 2 * widest, order, 1, 1),
        }
        for name, size in expected.items():
            if getattr(state["weights"].get(name), "shape", None) != size:
                raise ValueError(f"{name} should be of shape {size}")

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn features and pose.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of one size: whole numbers 0-255 (read as 0-1) or floats. Square ones where the group has quarter
            turns.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For NaN, infinite values, images that are not square, values outside 0-1 with ``loss="bce"``, and where
            ``warm_start`` cannot go on from another network or from images of another size.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.
        """
        self._train(X)
        return self

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """One pass over a part of the images; those of the first call set the scale of the channels, which then stays.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images as in `fit`.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        self._train(X, partial=True)
        return self

    def _data(self, given, y, generator, *, reset):
        images = self._channels_first(given, reset=reset)
        height, width = images.shape[2:]
        group = Group(self.group)
        if group.needs_squares and height != width:
            raise ValueError(
                f"images of {height} × {width} pixels are not square, and group={self.group!r} turns them on their "
                'side: crop them or fill them up (flat rows need image_shape), or take group="C2", "D1" or "D2"'
            )
        if self.loss == "bce" and images.is_floating_point() and (images.min() < 0 or images.max() > 1):
            raise ValueError('loss="bce" rebuilds values in 0-1, and X has others: scale it, or use loss="mse"')
        if reset:
            shift, scale = channel_spread(images)
            return _Images(images, shift, scale, given.sample_shape)
        self._check_going_on(images.shape[1:])
        return _Images(images, *self._spread(scale_pixels(images[:0])), self._state["sample_shape"])

    def _check_going_on(self, shape):
        """That the parameters are still those of the network that is to go on."""
        fitted = self._state["architecture"]
        changed = [name for name, value in self._architecture(shape).items() if value != fitted[name]]
        if self._state["cross_entropy"] != (self.loss == "bce"):
            changed.append("loss")
        if changed:
            raise ValueError(
                f"{type(self).__name__} was fitted with another {', '.join(changed)} and cannot go on; set "
                f"{'it' if len(changed) == 1 else 'them'} back, set warm_start=False, or fit a clone"
            )

    def _architecture(self, shape):
        return {
            "shape": tuple(shape),
            "group": Group(self.group).name,
            "pooling": self.pooling,
            "latent_channels": self.latent_channels,
            "width": self.width,
            "depth": self.depth,
        }

    def _identity(self, data):
        return {"samples": [data.images]}

    def _module(self, data, generator):
        architecture = self._architecture(data.images.shape[1:])
        widest = self.width * 2 ** min(self.depth - 1, 64)  # of the encoder's levels, each twice as wide as the last
        sizes = {name: getattr(self, name) for name in ("latent_channels", "width", "depth")}
        check_size(widest * max(widest, self.latent_channels) * Group(self.group).order, **sizes)
        return self._objective(EquivariantAutoencoderNetwork(**architecture, generator=generator), data)

    def _restored(self, data, generator):
        return self._objective(self._network(data.scale)[0].train(), data)

    def _objective(self, network, data):
        cross_entropy = self.loss == "bce"
        return ReconstructionLoss(network.to(data.scale), data.shift, data.scale, cross_entropy, self.pose_weight)

    def _batches(self, data, generator):
        return RowBatches(data.images, batch_size=self.batch_size, generator=generator)

    def _finish(self, objective, data, n_epochs):
        if self.pooling is not None:  # the pose that most images have is the canonical one
            network = objective.network
            network.recentre(usual_pose(network, data.images, data.shift, data.scale))

    def _export(self, objective, data):
        network, group = objective.network, objective.network.group
        return {
            "weights": {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()},
            "shift": data.shift.cpu().numpy(),
            "scale": data.scale.cpu().numpy(),
            "architecture": self._architecture(data.images.shape[1:]),
            "embedding_shape": (self.latent_channels, group.order),
            "elements": torch.stack([group.mirrored, group.angles], dim=1).double().cpu().numpy(),
            "cross_entropy": self.loss == "bce",
            "n_channels": data.images.shape[1],
            "sample_shape": data.sample_shape,
        }

    def _results(self, objective, data):
        spread = data.shift, data.scale
        error = reconstruction_error(objective.network, data.images, *spread, self.loss == "bce")
        objective.train()
        return {"reconstruction_error_": error}

    def transform(self, X):
        """The features of images.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of the size that was fitted.

        Returns
        -------
        array of shape (n, n_features_out)
            With k latent_channels these are k · order features with ``pooling="attention"`` and None, k (k + 1) / 2
            with "gram", k with "mean"; in the kind of array, on the device and in the precision of X.
        """
        given = self._read(X)
        return given.answer(self._over(given, lambda network, x: network.features(*network.encode(x))))

    def embed(self, X):
        """The embedding, which is permuted when images are turned.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of the size that was fitted.

        Returns
        -------
        array of shape (n, latent_channels, order)
            The last axis in the order of ``elements_``.
        """
        given = self._read(X)
        return given.answer(self._over(given, lambda network, x: network.encode(x)[0]))

    @available_if(_has_pose)
    def predict_pose(self, X):
        """The likeliest pose of each image.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of the size that was fitted.

        Returns
        -------
        int64 array of shape (n,)
            Numbers of elements of the group: rows of ``elements_``. Of an image that is moved by g it is g times that
            of the image; under "C4" for instance, 1 more modulo 4 for a quarter turn counter-clockwise.
        """
        given = self._read(X)
        return given.answer(self._over(given, lambda network, x: network.encode(x)[1].argmax(1)))

    def inverse_transform(self, X, pose=None):
        """Images rebuilt from their features.

        Parameters
        ----------
        X : array of shape (n, n_features_out)
            Features.
        pose : int, or array of shape (n,), or None, default=None
            Numbers of elements, as `predict_pose` gives them; None is the canonical pose, 0. Without pooling the
            features hold the pose, and None is all there is.

        Returns
        -------
        array of shape (n, h, w[, c]), or (n, n_features) where rows were fitted
            Images, on the scale 0-1 where whole numbers were fitted.

        Raises
        ------
        ValueError
            For features or poses of another shape, NaN, what is no dense array of real numbers, and poses that are no
            elements.
        """
        given = _FEATURES.read(self, X)
        features = given.tensor()
        network, shift, scale = self._network(features)
        poses = self._check_pose(pose, len(features)).to(features.device)
        with torch.no_grad():
            sure = nn.functional.one_hot(poses, network.group.order).to(features)
            parts = zip(features.split(_AT_ONCE), sure.split(_AT_ONCE), strict=True)
            rebuilt = torch.cat([network.decode(*part) for part in parts])
            rebuilt = to_pixels(rebuilt, shift, scale, self._state["cross_entropy"])
        return given.answer(rebuilt.permute(0, 2, 3, 1).reshape(len(rebuilt), *self._state["sample_shape"]))

    def _check_pose(self, pose, n):
        architecture, (_, order) = self._state["architecture"], self.embedding_shape_
        if pose is None:
            return torch.zeros(n, dtype=torch.int64)
        if architecture["pooling"] is None:
            raise ValueError("pose must be None for pooling=None, where the features hold the pose")
        given = np.asarray(to_numpy(pose))
        if given.dtype.kind not in "iu" or given.shape not in ((), (n,)):
            raise ValueError(f"pose must be a whole number, or {n}, one for each row, got {pose!r}")
        if ((given < 0) | (given >= order)).any():
            raise ValueError(f"pose must lie in 0-{order - 1}, the elements of {architecture['group']}, got {pose!r}")
        return torch.from_numpy(np.broadcast_to(given, (n,)).astype(np.int64))

    def _channels_first(self, given, *, reset=False):
        """(n, c, h, w) of uint8 or floats, on the device that computes."""
        images = given.data.permute(0, 3, 1, 2)
        if not reset and tuple(images.shape[1:]) != self._state["architecture"]["shape"]:
            (_, *fitted), given = self._state["architecture"]["shape"], images.shape[2:]
            raise ValueError(
                f"images of {given[0]} × {given[1]} pixels, but {type(self).__name__} was fitted on images of "
                f"{fitted[0]} × {fitted[1]}"
            )
        return images.to(given.device)

    def _network(self, like):
        """The fitted network, with shift and scale, on the device and in the precision of a tensor of floats."""
        state = self._state
        network = EquivariantAutoencoderNetwork(**state["architecture"], generator=torch.Generator())
        restore_weights(network, state["weights"], self)
        return network.to(like).eval(), *self._spread(like)

    def _spread(self, like):
        """Mean and standard deviation of each channel of the images that were fitted first."""
        return [torch.tensor(np.asarray(self._state[name])).to(like) for name in ("shift", "scale")]

    @torch.no_grad()
    def _over(self, given, function):
        """What a function of network and normalised images gives, a part of the images at a time."""
        images = self._channels_first(given)
        network, shift, scale = self._network(scale_pixels(images[:0]))
        parts = images.split(_AT_ONCE)
        with full_precision():
            return torch.cat([function(network, (scale_pixels(part) - shift) / scale) for part in parts])

    @property
    def _n_features_out(self):
        return count_features(self._state["architecture"]["pooling"], *self.embedding_shape_)
