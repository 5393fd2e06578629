"""The cells of a network's feature map as local descriptors (the paper uses conv3_3 of VGG-16)."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklinvariant._settings import borrowed_generators, making_modules, with_own_settings
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import (
    LARGEST_SIDE,
    Count,
    Device,
    FiniteArray,
    OnDevice,
    Side,
    Weights,
    accepts,
    check_size,
    declared,
    restore_weights,
)
from sklinvariant.feature_extraction._maps import cells_of
from sklinvariant.feature_extraction._weights import load_weights
from sklinvariant.images import ImageTransformer, range_of, scale_pixels
from sklinvariant.ops import concatenated


def run_to(network: nn.Module, layer: str | None, x: torch.Tensor) -> Any:
    """The output of a layer (None: of the network). Later layers are not computed."""
    if layer is None:
        return network(x)

    def stop(module, args, output):
        raise _Reached(output)

    hook = network.get_submodule(layer).register_forward_hook(stop)
    try:
        network(x)
    except _Reached as reached:
        return reached.args[0]
    finally:
        hook.remove()
    raise ValueError(
        f"layer={layer!r} is not used in the forward pass of the network, but its output is required. Choose another "
        "layer."
    )


class _Reached(Exception):
    """Ends a forward pass at the requested layer; not an error."""


@declared
class BackbonePatches(OnDevice, ImageTransformer):
    """Convert images to bags of feature map cells: a map ``(n, c, h, w)`` gives h·w descriptors of c features.

    The network is copied, set to evaluation mode and computed in float32 up to the layer. A fitted estimator stores its
    weights. Cells are ordered row by row.

    A map is interpreted as ``(n, c, h, w)``, or as ``(n, h, w, c)`` if only this layout has the aspect ratio of the
    images (Swin). The tokens ``(n, tokens, c)`` of a vision transformer are the cells of its grid of patches; class and
    register tokens are left out.

    Parameters
    ----------
    module : torch.nn.Module, callable or str
        A network that takes ``(n, c, h, w)`` float32 images, a callable that returns one, or the name of a model of
        torchvision or timm (if installed), which is loaded with pretrained weights unless ``weights`` is given. Random
        numbers that it draws from torch's global generators are seeded with 0; only one such module runs at a time.
    layer : str or None
        Name of the layer (as in ``module.named_modules()``) whose output is used; None uses the output of the network.
        For models of timm, pass ``timm.create_model(name, num_classes=0, global_pool="")`` as the module, whose output
        is that of ``forward_features``.
    weights : path or None
        A local ``.safetensors``, ``.npz`` or state-dict file, which is loaded into the network.
    mean : float or sequence
        Value for each channel that is subtracted from the images, which are floats 0-1.
    std : float or sequence
        Value for each channel by which the images are then divided.
    bgr : bool
        Convert RGB to BGR before ``mean`` and ``std`` are applied.
    image_size : int, (int, int) or None
        Resize the images to this height and width. Larger images give more cells.
    batch_size : int
        Number of images processed at a time. Smaller batches take less memory.
    precision : {"auto", "float32", "mixed"}
        "mixed" computes products in bfloat16, which is several times as fast on a GPU and has errors of some parts in a
        thousand. "auto" does so only on CUDA.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. With None, a flat row is an image of one row of pixels.

    Notes
    -----
    Greyscale images are repeated over three channels if the first convolution of the network takes three. Random
    numbers drawn by a callable come from a separate generator, which is the same in every fit.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant.feature_extraction import BackbonePatches
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2), torch.nn.ReLU())
    >>> BackbonePatches(network).fit_transform(np.zeros((2, 9, 9, 3))).shape
    (2, 16, 5)
    """

    _layout = {"weights": Weights()}
    module: nn.Module | Callable | str
    _: KW_ONLY
    layer: str | None = None
    weights: str | os.PathLike | None = None
    mean: FiniteArray = 0.0
    std: FiniteArray = 1.0
    bgr: bool = False
    image_size: Side | tuple | list | None = None
    batch_size: Count = 64
    precision: Literal["auto", "float32", "mixed"] = "auto"
    image_shape: tuple | list | None = None

    def _prepare(self, given):
        with torch.no_grad(), making_modules(0):
            network = self._make(pretrained=self.weights is None)
            if self.weights is not None:
                load_weights(network, self.weights)
            maps = self._run(network.to(given.device), given.data[:1], given.device)
        weights = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
        return {"n_descriptor_features": maps.shape[-1], "weights": weights}

    def _describe(self, given):
        run, parts = self.feature_maps(given.device), given.data.split(self.batch_size)
        return DescriptorSets.from_bags(concatenated((run(part).flatten(1, 2) for part in parts), len(given.data)))

    def feature_maps(self, device: Device) -> Callable[[torch.Tensor], torch.Tensor]:
        """The fitted network on a device, as a function from images (n, h, w, c) to maps (n, rows, columns, features).

        The weights are loaded only once, so the function can be called for many batches.

        Parameters
        ----------
        device : str or torch.device
            The device.
        """
        check_is_fitted(self)
        with making_modules(0):
            network = self._make(pretrained=False)
        restore_weights(network, self._state["weights"], self)
        # max pooling on a CPU is several times as fast with channels last
        network.to(device, memory_format=torch.channels_last)

        def run(images):
            with torch.no_grad():
                return self._run(network, images, device)

        return with_own_settings(run)

    def _make(self, pretrained):
        if isinstance(self.module, str):
            network = _named_network(self.module, pretrained)
        else:
            network = copy.deepcopy(self.module) if isinstance(self.module, nn.Module) else self.module()
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"module={self.module!r} returned a {type(network).__name__}, but a torch.nn.Module is required. Pass "
                "a callable that returns one."
            )
        names = dict(network.named_modules())
        if self.layer is not None and self.layer not in names:
            raise ValueError(
                f"layer={self.layer!r} is not a layer of the network. Choose one of its layers, such as "
                f"{[name for name in names if name][:20]}."
            )
        return network.float().eval()

    def _run(self, network, images, device):
        """(n, h, w, c) images -> float32 (n, rows, columns, features)."""
        if images.dtype == torch.float64:
            images = _in_single_precision(images)  # converted here, because not every device supports float64
        x = self._preprocess(network, images.to(device))
        mixed = self.precision == "mixed" or (self.precision == "auto" and x.device.type == "cuda")
        try:
            autocast = torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=mixed)
            with autocast, borrowed_generators(0, x.device):
                features = run_to(network, self.layer, x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"the network does not accept images of shape {tuple(x.shape)} ({error}). Set image_size, or pass "
                "images with another number of channels."
            ) from error
        maps = cells_of(features, tuple(x.shape[-2:]), network, self.layer).float()
        if not torch.isfinite(maps.sum()) and not torch.isfinite(maps).all():
            low, high = range_of(images)
            raise FloatingPointError(
                f"the network returns NaN or infinity for images from {low:.4g} to {high:.4g}. Scale the images to "
                "0-1, and check mean, std and the weights."
            )
        return maps

    def _preprocess(self, network, images):
        x = scale_pixels(images).permute(0, 3, 1, 2)
        first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
        if x.shape[1] == 1 and first is not None and first.in_channels == 3:
            x = x.expand(-1, 3, -1, -1)
        if self.image_size is not None:
            size = (self.image_size,) * 2 if isinstance(self.image_size, int) else tuple(self.image_size)
            if len(size) != 2 or not all(accepts(Side, side) for side in size):
                raise ValueError(
                    f"image_size={self.image_size!r} is not valid. Pass an integer from 1 to {LARGEST_SIDE}, or a "
                    "height and a width in this range."
                )
            check_size(x.shape[0] * x.shape[1] * size[0] * size[1], image_size=self.image_size, batch_size=len(x))
            x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
        # (x - mean) / std, the order of channels and their layout in one pass
        std = self._of_channels("std", x)
        shift = -self._of_channels("mean", x) / std
        scaled = torch.empty_like(x, memory_format=torch.channels_last)
        for channel in range(x.shape[1]):
            source = x[:, -1 - channel] if self.bgr else x[:, channel]
            torch.addcmul(shift[channel], source, 1 / std[channel], out=scaled[:, channel])
        return scaled

    def _of_channels(self, name, x):
        value = np.ravel(np.asarray(getattr(self, name)))
        if value.dtype.kind not in "fiu" or len(value) not in (1, x.shape[1]) or not np.isfinite(value).all():
            raise ValueError(
                f"{name}={getattr(self, name)!r} is not valid for images of {x.shape[1]} channels. Pass a number, or "
                "one for each channel."
            )
        if name == "std" and (value <= 0).any():
            raise ValueError(f"std={self.std!r} is not valid, because std must be positive. Pass positive numbers.")
        return torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(x.shape[1])


def _in_single_precision(images):
    single = images.float()
    if not torch.isfinite(single.sum()) and not torch.isfinite(single).all():
        low, high = range_of(images)
        raise ValueError(
            f"the images have floats from {low:.4g} to {high:.4g}, but networks compute in float32, whose range ends "
            "at 3.4e38. Scale the images to 0-1."
        )
    return single


def _named_network(name, pretrained):
    found = []
    for library, make, weights in (
        ("torchvision.models", "get_model", {"weights": "DEFAULT" if pretrained else None}),
        ("timm", "create_model", {"pretrained": pretrained}),
    ):
        try:
            return getattr(importlib.import_module(library), make)(name, **weights)
        except ImportError:
            continue
        except (ValueError, RuntimeError) as error:  # no such name
            found.append(f"{library}: {error}")
    if found:
        raise ValueError(
            f"module={name!r} could not be created ({'; '.join(found)}). Choose a name known to torchvision or timm."
        )
    raise ImportError(
        f"module={name!r} requires torchvision or timm, but neither is installed. Run pip install torchvision, or pass "
        "a torch.nn.Module."
    )
