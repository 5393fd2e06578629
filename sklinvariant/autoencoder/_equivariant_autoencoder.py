"""Features that are invariant to a finite group, and a separate pose, learned by reconstructing images.

After Kuzminykh, Polykovskiy & Zhebrak (2018).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._distributed import whole_mean
from sklinvariant.accumulate import accumulate, channel_spread
from sklinvariant.autoencoder._equivariant_network import EquivariantAutoencoderNetwork, count_features
from sklinvariant.autoencoder._network_estimator import ImageFeatures, Images, NetworkEstimator, parts_of
from sklinvariant.base import (
    Array,
    Count,
    Each,
    Fields,
    FittedState,
    Flag,
    Maybe,
    NonNegative,
    OutputReader,
    Text,
    Weights,
    Whole,
    check_size,
    declared,
    to_numpy,
)
from sklinvariant.images import scale_pixels
from sklinvariant.networks import Group
from sklinvariant.ops import concatenated
from sklinvariant.training import RowBatches

_FEATURES = OutputReader("features")


class ReconstructionLoss(nn.Module):
    """A module whose ``forward`` returns the mean reconstruction error of images (n, c, h, w), expected over the pose.

    This is ``Σ_g p_g ‖D(f) - g⁻¹ x‖²``: the features f are decoded in the canonical pose, and compared with the image
    transformed back by every g. The gradient of p then depends on how much better one pose is than another. The decoder
    never gets a mixture of poses, whose weights could carry more information than the pose. Errors are squared errors
    divided by the variance, or with ``cross_entropy`` the cross-entropy of a sigmoid, for values in 0-1. The entropy of
    the mean pose, times ``pose_weight``, is added.
    """

    def __init__(
        self,
        network: EquivariantAutoencoderNetwork,
        shift: torch.Tensor,
        scale: torch.Tensor,
        cross_entropy: bool = False,
        pose_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.cross_entropy, self.pose_weight = network, cross_entropy, pose_weight
        self.shift, self.scale = shift, scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        network, group = self.network, self.network.group
        images = scale_pixels(images)
        x = (images - self.shift) / self.scale
        embedding, pose = network.encode(x)
        features = network.features(embedding, pose)
        target = images if self.cross_entropy else x
        if network.pooling is None:
            return whole_mean(self._errors(network.decode(features, None), target).mean())
        canonical = network.decode(features, pose.new_tensor([1.0] + [0.0] * (group.order - 1)).expand_as(pose))
        errors = [self._errors(canonical, group.act(target, g)) for g in group.inverses.tolist()]
        mean = whole_mean(pose.mean(0))
        entropy = -(mean * mean.clamp_min(1e-6).log()).sum()  # clamped, so that the gradient stays finite
        return whole_mean((pose * torch.stack(errors, dim=1)).sum(1).mean()) + self.pose_weight * entropy

    def _errors(self, rebuilt, target):
        """The mean error of each image (n,)."""
        if self.cross_entropy:
            errors = nn.functional.binary_cross_entropy_with_logits(rebuilt, target, reduction="none")
        else:
            errors = (rebuilt - target).square()
        return errors.mean((1, 2, 3))


@torch.no_grad()
def usual_pose(
    network: EquivariantAutoencoderNetwork, images: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
) -> int:
    """The most frequent pose of images (n, c, h, w)."""
    network.eval()
    poses = (network.encode((scale_pixels(part) - shift) / scale)[1].argmax(1) for part in parts_of(network, images))
    return int(concatenated(poses, len(images)).bincount().argmax())


def to_pixels(rebuilt: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, cross_entropy: bool) -> torch.Tensor:
    """The output of the decoder, on the scale of the images."""
    return rebuilt.sigmoid() if cross_entropy else rebuilt * scale + shift


@torch.no_grad()
def reconstruction_error(
    network: EquivariantAutoencoderNetwork,
    images: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    cross_entropy: bool,
) -> float:
    """Mean squared error of images (n, c, h, w), each reconstructed in its most probable pose."""
    network.eval()

    def squares(part, _):
        part = scale_pixels(part)
        rebuilt = to_pixels(network((part - shift) / scale), shift, scale, cross_entropy)
        return (rebuilt - part).double().square().sum()

    return float(accumulate(squares, parts_of(network, images))) / images.numel()


def _has_pose(estimator):
    fitted = hasattr(estimator, "_state")
    if (estimator._state["architecture"]["pooling"] if fitted else estimator.pooling) is None:
        raise AttributeError("not available with pooling=None, where the embedding contains the pose")
    return True


@declared
class EquivariantAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NetworkEstimator):
    r"""Autoencoder with features that are invariant to a finite group of rotations and reflections, and a pose.

    Group convolutions compute an embedding E (k, order) of an image, with an entry for each of k channels and each
    element of a finite group. If the image is transformed by an element g, the embedding is permuted:

    .. math:: E(g x)[u] = E(x)[g^{-1} u]

    One more channel, a softmax p over the group that is permuted in the same way, is the pose. A pooling computes
    invariant features f from the embedding. A decoder D of group convolutions reconstructs the image from f and the
    pose, so f must contain everything except the pose. The network minimises the expected error

    .. math:: \sum_g p_g \lVert D(f, g) - x \rVert^2

    plus the entropy of the mean pose of a batch. The entropy makes images that are mostly upright share one canonical
    pose.

    For rotations by other angles than those of the group, use `CanonicalRotation`: classifiers are much more accurate
    on its rotated images than on these features. To classify images at quarter turns, train a classifier on four
    rotated copies of the pixels instead, which is on average more accurate.

    Parameters
    ----------
    latent_channels : int
        Number of channels k of the embedding.
    group : str
        Group to which features are invariant. "C4" contains rotations by 90 degrees, "D4" reflections as well, "D1"
        only reflections, and "C2" half turns. To these groups features are invariant up to rounding. "C8", "D8", "C16",
        … contain rotations by smaller angles, to which features are approximately invariant if the corners of the
        images contain only background. "trivial" is an ordinary autoencoder.
    pooling : {"attention", "gram", "mean"} or None
        How the features are computed from the embedding. "attention" transforms it back by the pose,
        :math:`\sum_g p_g E[g u]`, which gives k · order features. "gram" computes products of channels i and j,
        :math:`\sum_u E_i[u] E_j[u]` divided by the order, which gives k (k + 1) / 2 features; off-diagonal ones are
        multiplied by √2, so that distances equal those of the matrices. "mean" averages over the group, which gives k
        features. None returns the embedding itself, k · order values that are permuted with the image.
    width : int
        Number of channels of the first level, each for all elements of the group. It doubles at each level.
    loss : {"mse", "bce"}
        "mse" is the squared error divided by the variance, "bce" the cross-entropy of a sigmoid, for values in 0-1.
    pose_weight : float
        Weight of the entropy of the mean pose, in nats. With 0, each kind of image has its own canonical pose, and some
        kinds have several. If all poses are equally frequent in the images, the weight has no effect.
    image_shape : tuple or None
        Shape (h, w) or (h, w, c) of images given as flat rows. None treats a row as an image of height 1.

    Attributes
    ----------
    embedding_shape_ : tuple
        (latent_channels, order), the shape of the embedding that `embed` returns for an image.
    elements_ : ndarray of shape (order, 2)
        How an image in each pose is mirrored (0 or 1) and then rotated (degrees, counter-clockwise) relative to the
        canonical pose.
    reconstruction_error_ : float
        Mean squared error of the training images, each reconstructed in its most probable pose.

    See Also
    --------
    CanonicalRotation : Rotates images into a canonical pose, for rotations by any angle.

    Notes
    -----
    Only the abstract of the paper was available. It describes the equivariant autoencoder, names Gram pooling and
    equivariant attention with their purposes, and compares them with mean pooling and an ordinary autoencoder. The
    formulas above, the decoder that gets features and pose, the expected error and the entropy are our own. If the
    decoder gets the weights p themselves, they carry more information than a pose, and the features become worse.

    Pose 0, the canonical pose, is the most frequent pose of the training images. It is upright if most of them are
    upright. For images that look the same in several poses, such as a ring, any of these may be predicted.

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
    elements_ = FittedState("Mirrored (0 or 1) and degrees of each element, (order, 2).")

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
            raise ValueError(
                f"an embedding of shape {state['embedding_shape']} does not match {architecture['group']!r}"
            )
        if shape[0] != state["n_channels"] or math.prod(shape) != math.prod(state["sample_shape"]):
            raise ValueError(f"images of shape {shape} do not match samples of shape {state['sample_shape']}")
        self._check_weights()

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the features and the pose.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of equal size: integers 0-255, which are scaled to 0-1, or floats. The images must be square if the
            group has quarter turns.

        Raises
        ------
        ValueError
            If X contains NaN, infinite values, images that are not square although the group requires it, or values
            outside 0-1 with ``loss="bce"``, or if ``warm_start=True`` but the previous fit used another network or
            images of another size.
        """
        self._train(X)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one pass over a part of the images. Those of the first call determine the scale of the channels."""
        self._train(X, partial=True)
        return self

    def _data(self, given, y, generator, *, reset):
        images = self._channels_first(given)
        height, width = images.shape[2:]
        group = Group(self.group)
        if group.needs_squares and height != width:
            raise ValueError(
                f"images of {height} × {width} pixels are not square, but group={self.group!r} contains quarter turns. "
                'Crop or pad them (for flat rows, set image_shape), or use group="C2", "D1" or "D2"'
            )
        stored = given.data  # torch copies the whole of a permuted tensor to find its minimum
        if self.loss == "bce" and images.is_floating_point() and (stored.min() < 0 or stored.max() > 1):
            raise ValueError('loss="bce" requires values in 0-1, but X has others. Scale X, or use loss="mse"')
        if reset:
            shift, scale = channel_spread(images)
            return Images(images, shift, scale, given.sample_shape)
        self._check_unchanged(images.shape[1:])
        shift, scale = self._fitted_tensors(scale_pixels(images[:0]), "shift", "scale")
        return Images(images, shift, scale, self._state["sample_shape"])

    def _changed(self, shape):
        loss = ["loss"] if self._state["cross_entropy"] != (self.loss == "bce") else []
        return super()._changed(shape) + loss

    def _architecture(self, shape):
        return {
            "shape": tuple(shape),
            "group": Group(self.group).name,
            "pooling": self.pooling,
            "latent_channels": self.latent_channels,
            "width": self.width,
            "depth": self.depth,
        }

    def _module(self, data, generator):
        architecture = self._architecture(data.images.shape[1:])
        widest = self.width * 2 ** min(self.depth - 1, 64)  # levels of the encoder double in width
        sizes = {name: getattr(self, name) for name in ("latent_channels", "width", "depth")}
        check_size(widest * max(widest, self.latent_channels) * Group(self.group).order, **sizes)
        return self._objective(EquivariantAutoencoderNetwork(**architecture, generator=generator), data)

    def _objective(self, network, data):
        cross_entropy = self.loss == "bce"
        return ReconstructionLoss(network.to(data.scale), data.shift, data.scale, cross_entropy, self.pose_weight)

    def _batches(self, data, generator):
        return RowBatches(data.images, batch_size=self.batch_size, generator=generator)

    def _finish(self, objective, data, n_epochs):
        if self.pooling is not None:  # the most frequent pose becomes the canonical one
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

    def transform(self, X: Any) -> Any:
        """The features of images.

        Returns
        -------
        array of shape (n, n_features_out)
            With k latent_channels there are k · order features for ``pooling="attention"`` and None, k (k + 1) / 2 for
            "gram", and k for "mean". They have the array type, device and precision of X.
        """
        given = self._read(X)
        return given.answer(self._apply_network(given, lambda network, x: network.features(*network.encode(x))))

    def embed(self, X: Any) -> Any:
        """The embedding, which is permuted when images are transformed.

        Returns
        -------
        array of shape (n, latent_channels, order)
            The embeddings. The last axis has the order of ``elements_``.
        """
        given = self._read(X)
        return given.answer(self._apply_network(given, lambda network, x: network.encode(x)[0]))

    @available_if(_has_pose)
    def predict_pose(self, X: Any) -> Any:
        """Predict the most probable pose of each image.

        Returns
        -------
        int64 array of shape (n,)
            Indices of elements of the group, which are rows of ``elements_``. If an image is transformed by g, its pose
            is multiplied by g. With "C4", a quarter turn counter-clockwise adds 1 modulo 4.
        """
        given = self._read(X)
        return given.answer(self._apply_network(given, lambda network, x: network.encode(x)[1].argmax(1)))

    def inverse_transform(self, X: Any, pose: Any = None) -> Any:
        """Reconstruct images from their features.

        Parameters
        ----------
        X : array of shape (n, n_features_out)
            Features.
        pose : int, or array of shape (n,), or None, default=None
            Indices of elements, as returned by `predict_pose`. None is the canonical pose, 0. With ``pooling=None`` the
            features contain the pose, and pose must be None.

        Returns
        -------
        array of shape (n, h, w[, c]), or (n, n_features) if X in `fit` had rows
            Images. If `fit` got integers, they are on the scale 0-1.

        Raises
        ------
        ValueError
            If features or poses have another shape, contain NaN or are not dense arrays of real numbers, or if poses
            are not elements of the group.
        """
        given = _FEATURES.read(self, X)
        features = given.tensor()
        network, shift, scale = self._network(features)
        poses = self._check_pose(pose, len(features)).to(features.device)
        with torch.no_grad():
            sure = nn.functional.one_hot(poses, network.group.order).to(features)
            parts = zip(parts_of(network, features), parts_of(network, sure), strict=True)
            cross_entropy = self._state["cross_entropy"]
            rebuilt = concatenated(
                (to_pixels(network.decode(*part), shift, scale, cross_entropy) for part in parts), len(features)
            )
        return given.answer(rebuilt.permute(0, 2, 3, 1).reshape(len(rebuilt), *self._state["sample_shape"]))

    def _check_pose(self, pose, n):
        architecture, (_, order) = self._state["architecture"], self.embedding_shape_
        if pose is None:
            return torch.zeros(n, dtype=torch.int64)
        if architecture["pooling"] is None:
            raise ValueError("pose must be None with pooling=None, because the features contain the pose")
        given = np.asarray(to_numpy(pose))
        if given.dtype.kind not in "iu" or given.shape not in ((), (n,)):
            raise ValueError(f"pose must be an integer, or {n} integers, one for each row, got {pose!r}")
        if ((given < 0) | (given >= order)).any():
            raise ValueError(f"pose must be in 0-{order - 1}, the elements of {architecture['group']}, got {pose!r}")
        return torch.from_numpy(np.broadcast_to(given, (n,)).astype(np.int64))

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: ImageFeatures(*self._network(torch.empty(0, dtype=dtype)))}

    @torch.no_grad()
    def _apply_network(self, given, function):
        """Apply a function of the network and of normalised images, in batches."""
        images = self._channels_first(given)
        network, shift, scale = self._network(scale_pixels(images[:0]))
        parts = parts_of(network, images)
        answers = (function(network, (scale_pixels(part) - shift) / scale) for part in parts)
        return concatenated(answers, len(images))

    @property
    def _n_features_out(self):
        return count_features(self._state["architecture"]["pooling"], *self.embedding_shape_)
