"""The cells of a network's feature map as local descriptors (the paper takes conv3_3 of VGG-16)."""

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
    resolve_device,
    restore_weights,
)
from sklinvariant.feature_extraction._maps import cells_of
from sklinvariant.feature_extraction._weights import load_weights
from sklinvariant.images import ImageTransformer, range_of, scale_pixels


def run_to(network: nn.Module, layer: str | None, x: torch.Tensor) -> Any:
    """The output of a layer (None: of the network); what comes after the layer is not run."""
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
    raise ValueError(f"layer={layer!r} is in the network, but takes no part in its forward pass")


class _Reached(Exception):
    """Not an error: ends a forward pass at the layer that is asked for."""


@declared
class BackbonePatches(OnDevice, ImageTransformer):
    """Images to bags of the cells of a feature map: ``(n, c, h, w)`` becomes h·w descriptors of c features.

    The network is copied, in evaluation mode, and run in float32 as far as the layer; a fitted estimator keeps its
    weights. Cells come row by row.

    A map is read as ``(n, c, h, w)``, or as ``(n, h, w, c)`` where only that has the images' aspect ratio (swin). The
    tokens ``(n, tokens, c)`` of a vision transformer are the cells of its grid of patches; class and register tokens
    before them are left out.

    Parameters
    ----------
    module : torch.nn.Module, callable or str
        A network that takes ``(n, c, h, w)`` float32 images, a callable that makes one, or the name of one in
        torchvision or timm, where installed: with their pretrained weights unless ``weights`` is given. What it draws
        from torch's global generators is seeded with 0; only one such module runs at a time.
    layer : str or None
        Name of the layer (as in ``module.named_modules()``) whose output is taken; None takes the network's. For models
        of timm give ``timm.create_model(name, num_classes=0, global_pool="")`` as the module, whose output is that of
        ``forward_features``.
    weights : path or None
        A local ``.safetensors``, ``.npz`` or state-dict file to load first.
    mean : float or sequence
        Subtracted from the images, which are floats 0-1, for each channel.
    std : float or sequence
        What they are divided by then.
    bgr : bool
        Turn RGB into BGR first, before ``mean`` and ``std``.
    image_size : int, (int, int) or None
        Resize the images to this height and width first. Larger gives more cells.
    batch_size : int
        Images at a time; smaller takes less memory.
    precision : {"auto", "float32", "mixed"}
        "mixed" computes the network's products in bfloat16, which is several times as fast on a GPU and errs by some
        parts in a thousand; "auto" does so on CUDA alone.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. Without it a flat row is an image of one row of pixels.

    Notes
    -----
    Grey images are repeated over three channels for a network whose first convolution takes three. What a callable
    draws at random is drawn from a generator of its own, the same at every fit.

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

    def _prepare(self, images, X):
        device = resolve_device(self.device, X)
        with torch.no_grad(), making_modules(0):
            network = self._make(pretrained=self.weights is None)
            if self.weights is not None:
                load_weights(network, self.weights)
            maps = self._run(network.to(device), images[:1], device)
        weights = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
        return {"n_descriptor_features": maps.shape[-1], "weights": weights}

    def _describe(self, images, X):
        run = self.feature_maps(resolve_device(self.device, X))
        return DescriptorSets.from_bags(torch.cat([run(part).flatten(1, 2) for part in images.split(self.batch_size)]))

    def feature_maps(self, device: Device) -> Callable[[torch.Tensor], torch.Tensor]:
        """The fitted network on a device, as a function of (n, h, w, c) images that gives (n, rows, columns, features).

        It is loaded once; whoever makes many views of images calls it for each batch of them.
        """
        check_is_fitted(self)
        with making_modules(0):
            network = self._make(pretrained=False)
        restore_weights(network, self._state["weights"], self)
        network.to(device, memory_format=torch.channels_last)  # max pooling on a CPU is several times as fast so

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
            raise ValueError(f"module={self.module!r} made a {type(network).__name__}; expected a torch.nn.Module")
        names = dict(network.named_modules())
        if self.layer is not None and self.layer not in names:
            raise ValueError(
                f"layer={self.layer!r} is not in the network; it has {[name for name in names if name][:20]}"
            )
        return network.float().eval()

    def _run(self, network, images, device):
        """(n, h, w, c) images -> float32 (n, rows, columns, features)."""
        if images.dtype == torch.float64:
            images = _in_single_precision(images)  # here: not every device holds float64
        x = self._preprocess(network, images.to(device))
        mixed = self.precision == "mixed" or (self.precision == "auto" and x.device.type == "cuda")
        try:
            autocast = torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=mixed)
            with autocast, borrowed_generators(0, x.device):
                features = run_to(network, self.layer, x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"the network cannot take images of shape {tuple(x.shape)}: {error}") from error
        maps = cells_of(features, tuple(x.shape[-2:]), network, self.layer).float()
        if not torch.isfinite(maps.sum()) and not torch.isfinite(maps).all():
            low, high = range_of(images)
            raise FloatingPointError(
                f"the network gives NaN or infinity for images from {low:.4g} to {high:.4g}. Bring the images to 0-1, "
                "and check mean, std and the weights"
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
                f"{name} must be a number or {x.shape[1]}, one for each channel, got {getattr(self, name)!r}"
            )
        if name == "std" and (value <= 0).any():
            raise ValueError(f"std must be positive, got {self.std!r}")
        return torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(x.shape[1])


def _in_single_precision(images):
    single = images.float()
    if not torch.isfinite(single.sum()) and not torch.isfinite(single).all():
        low, high = range_of(images)
        raise ValueError(
            f"the images have floats from {low:.4g} to {high:.4g}, but networks compute in float32, which ends at "
            "3.4e38. Bring the images to 0-1"
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
        raise ValueError(f"module={name!r} could not be made; {'; '.join(found)}")
    raise ImportError(
        f"module={name!r} is a name in torchvision or timm, and neither is installed: pip install torchvision, or "
        "give a torch.nn.Module"
    )
