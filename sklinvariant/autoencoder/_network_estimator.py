"""The base of the estimators with the network of the equivariant autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sklinvariant.autoencoder._equivariant_network import EquivariantAutoencoderNetwork
from sklinvariant.base import OnDevice, TorchEstimator, restore_weights
from sklinvariant.images import ImageReader, WithImageSize, channels_first, scale_pixels
from sklinvariant.ops import compute_dtype, samples_at_once
from sklinvariant.training import TrainedEstimator, WithOptimizer


def parts_of(network: EquivariantAutoencoderNetwork, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Parts of images or features (n, ...), of which the network processes one at a time."""
    return values.split(samples_at_once(network.n_values, compute_dtype(values.dtype), values.device))


@dataclass
class Images:
    """Images (n, c, h, w), the mean and standard deviation of their channels, and the shape of one image of X."""

    images: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    sample_shape: tuple


class ImageFeatures(nn.Module):
    """The invariant features of images (n, h, w, c) as a module, which contains their normalisation."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: EquivariantAutoencoderNetwork, shift: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (scale_pixels(channels_first(images)) - self.shift) / self.scale
        return self.network.features(*self.network.encode(x))


class NetworkReader(ImageReader):
    """Reads images of the size for which the network was made, also after a fit on flat rows."""

    def _size_of_fit(self, state):
        return tuple(state.get("image_size", state["architecture"]["shape"][1:]))


class NetworkEstimator(WithImageSize, OnDevice, WithOptimizer, TrainedEstimator, TorchEstimator):
    """Base of the estimators whose fitted state contains weights and architecture of the network.

    A subclass implements ``_architecture(shape)`` and ``_objective(network, data)``, a module that computes the loss.

    Parameters
    ----------
    depth : int
        Number of levels of convolutions; each halves height and width.
    max_epochs : int
        Maximum number of passes over the images.
    batch_size : int
        Maximum number of images in a training step.

    Attributes
    ----------
    n_features_in_ : int
        Number of values of an image.
    """

    _reader = NetworkReader()

    def _channels_first(self, given):
        """Images (n, c, h, w) of uint8 or floats on the device."""
        return given.data.permute(0, 3, 1, 2).to(given.device)

    def _architecture(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """The settings of the network for images of the shape (c, h, w)."""
        raise NotImplementedError

    def _objective(self, network: EquivariantAutoencoderNetwork, data: Images) -> torch.nn.Module:
        """The module that computes the loss of a batch."""
        raise NotImplementedError

    def _changed(self, shape):
        """Names of the parameters that differ from those of the fit that should be continued."""
        fitted = self._state["architecture"]
        return [name for name, value in self._architecture(shape).items() if value != fitted[name]]

    def _check_unchanged(self, shape):
        """Raise a ValueError if the parameters have changed since the fit that should be continued."""
        changed = self._changed(shape)
        if changed:
            raise ValueError(
                f"{type(self).__name__} was fitted with different {', '.join(changed)}. Set "
                f"{'it' if len(changed) == 1 else 'them'} back, set warm_start=False, or fit a clone"
            )

    def _identity(self, data):
        return {"samples": [data.images]}

    def _restored(self, data, generator):
        return self._objective(self._network(data.scale)[0].train(), data)

    def _check_weights(self):
        """Raise a ValueError if the largest layers do not fit the architecture, before the network is built."""
        state, architecture = self._state, self._state["architecture"]
        k, shape = architecture["latent_channels"], architecture["shape"]
        order = int(architecture["group"][1:]) * (1 + (architecture["group"][0] == "D"))
        widest = architecture["width"] << (architecture["depth"] - 1)
        side = [-(-length // (1 << architecture["depth"])) for length in shape[1:]]
        expected = {
            f"encoder.{4 * architecture['depth']}.weight": (2 * widest, widest, order, *side),
            f"encoder.{4 * architecture['depth'] + 3}.weight": (k + 1, 2 * widest, order, 1, 1),
        }
        for name, size in expected.items():
            if getattr(state["weights"].get(name), "shape", None) != size:
                raise ValueError(f"{name} should be of shape {size}")

    def _network(self, like):
        """The fitted network, shift and scale, on the device and in the precision of the float tensor ``like``."""
        state = self._state
        network = EquivariantAutoencoderNetwork(**state["architecture"], generator=torch.Generator())
        restore_weights(network, state["weights"], self)
        return network.to(like).eval(), *self._fitted_tensors(like, "shift", "scale")
