"""The parameters of the estimators that compute with a backbone, and how they run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Literal

import numpy as np
import torch
from torch import nn

from sklinvariant._settings import borrowed_generators, making_modules, with_own_settings
from sklinvariant._warnings import warn
from sklinvariant.base import (
    LARGEST_SIDE,
    Anything,
    Count,
    Each,
    Fields,
    FiniteArray,
    Flag,
    Maybe,
    OnDevice,
    Side,
    Text,
    TorchEstimator,
    Weights,
    Whole,
    accepts,
    check_size,
    declared,
    restore_weights,
)
from sklinvariant.feature_extraction._backbones._backbone_module import BackboneModule
from sklinvariant.feature_extraction._backbones._make_backbone import Backbone, make_backbone
from sklinvariant.feature_extraction._backbones._maps import WrongOutput
from sklinvariant.feature_extraction._backbones._network_files import OnnxNetwork
from sklinvariant.feature_extraction._backbones._weights import load_weights
from sklinvariant.images import ImageReader, range_of, scale_pixels, stack_images

_BEYOND = 0.5  # floats this far beyond 0-1 are on another scale; resizing and noise exceed 0-1 by less
_PREPROCESSING = ("mean", "std", "bgr", "image_size")
_FIELDS = Fields(mean=Anything(), std=Anything(), bgr=Flag(), image_size=Maybe(Each(Whole(), 2)))


@declared
class BackboneEstimator(OnDevice, TorchEstimator):
    """Base of the estimators with a backbone.

    Parameters
    ----------
    module : torch.nn.Module, callable, str or path
        The network: a module that takes float32 images ``(n, c, h, w)``, a callable that returns one, the name of a
        model, or a file.

        - Names: ``"timm:vit_small_patch14_dinov2"``, ``"torchvision:resnet50"``, ``"hf:facebook/dinov2-small"``
          (transformers; also ``"hf:"`` and a local folder), ``"open_clip:ViT-B-32"`` (or with the tag of the weights,
          ``"open_clip:ViT-B-32/laion2b_s34b_b79k"``). A name without a prefix is searched in torchvision and timm. The
          pretrained weights are downloaded, or taken from the cache of the library, unless ``weights`` is given.
        - Files: ONNX (``.onnx``, needs onnxruntime), torch.export (``.pt2``) and TorchScript (``.ts``, ``.pt``). A
          fitted estimator contains an ONNX file, but reads files of the other kinds again, which must stay in place.

        Random numbers that it draws from torch's global generators are seeded with 0; only one such module runs at a
        time.
    layer : str or None
        Name of the layer (as in ``module.named_modules()``) whose output is used; for ONNX files, of an output. None
        uses the last feature map of a named model, and the output of other networks.
    weights : path or None
        A local ``.safetensors``, ``.npz`` or state-dict file, which is loaded into the network.
    mean : float, sequence or "auto"
        Value for each channel that is subtracted from the images, which are floats 0-1. "auto" is the value that the
        model was trained with if ``module`` names a model whose preprocessing is known, otherwise 0. With the values of
        a model, `fit` warns of images of floats on another scale.
    std : float, sequence or "auto"
        Value for each channel by which the images are then divided. "auto" is the value of the model, otherwise 1.
    bgr : bool or "auto"
        Convert RGB to BGR before ``mean`` and ``std`` are applied. "auto" is True for models of
        transformers whose preprocessing does so (such as MobileViT), otherwise False.
    image_size : int, (int, int), None or "auto"
        Resize the images to this height and width, without cropping. Larger images give more cells. "auto" is the size
        of the model, or that of the input of a file if it accepts only one size; other networks get the images as they
        are, as with None.
    batch_size : int
        Number of images processed at a time. Smaller batches take less memory.
    precision : {"float32", "bf16"}
        "bf16" computes products in bfloat16, which is faster on a GPU and has errors of some parts in a thousand.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. With None, a flat row is an image of one row of pixels.
    """

    _layout = {"weights": Weights(), "preprocessing": Maybe(_FIELDS), "architecture": Maybe(Text())}
    _reader = ImageReader(any_size=True, in_files=True)

    module: nn.Module | Callable | str | os.PathLike
    _: KW_ONLY
    layer: str | None = None
    weights: str | os.PathLike | None = None
    mean: FiniteArray | Literal["auto"] = "auto"
    std: FiniteArray | Literal["auto"] = "auto"
    bgr: bool | Literal["auto"] = "auto"
    image_size: Side | tuple | list | Literal["auto"] | None = "auto"
    batch_size: Count = 64
    precision: Literal["float32", "bf16"] = "float32"
    image_shape: tuple | list | None = None

    def _result(self, backbone, x):
        """What the estimator computes of preprocessed images (n, c, h, w)."""
        raise NotImplementedError

    def _learned(self, given):
        """The entries of the state, and the result for the first image of X."""
        with torch.no_grad(), making_modules(0):
            backbone = make_backbone(self.module, pretrained=self.weights is None, size=self._requested_size())
            self._check_layer(backbone)
            self._warn_of_unknown_preprocessing(backbone)
            self._warn_of_another_scale(backbone, given.data)
            if self.weights is not None:
                load_weights(backbone.network, self.weights, prefix=backbone.weights_prefix)
            preprocessing = {name: getattr(backbone, name) for name in _PREPROCESSING}
            backbone.network.to(given.device)
            first = self._run(backbone, next(self._batches(given.data, 1, preprocessing)), preprocessing, given.device)
        weights = {name: value.cpu().numpy() for name, value in backbone.network.state_dict().items()}
        return {"weights": weights, "preprocessing": preprocessing, "architecture": backbone.architecture}, first

    def _fitted_backbone(self):
        """The backbone with the fitted weights, on the CPU."""
        state = self._state
        with making_modules(0):
            backbone = make_backbone(
                self.module,
                pretrained=False,
                size=self._requested_size(),
                weights=state["weights"],
                architecture=state.get("architecture"),
            )
        self._check_layer(backbone)
        restore_weights(backbone.network, state["weights"], self)
        return backbone

    def _feature_module(self, **settings):
        """The fitted backbone as a module from images (n, h, w, c) to results."""
        preprocessing, backbone = self._state.get("preprocessing"), self._fitted_backbone()
        if isinstance(backbone.network, OnnxNetwork):
            raise ValueError(
                f"module={self.module!r} is an ONNX file, which torch cannot export. Serve the file itself, and "
                "convert the steps after it."
            )
        mean, std, bgr = (self._setting(name, preprocessing) for name in ("mean", "std", "bgr"))
        size = self._pair("image_size", self._setting("image_size", preprocessing))
        return BackboneModule(backbone, self._result, mean=mean, std=std, bgr=bgr, size=size, **settings)

    def _runner(self, device):
        """The fitted network on a device, as a function from images (n, h, w, c) to results."""
        preprocessing, backbone = self._state.get("preprocessing"), self._fitted_backbone()
        # max pooling on a CPU is several times as fast with channels last
        backbone.network.to(device, memory_format=torch.channels_last)

        def run(images):
            with torch.no_grad():
                return self._run(backbone, images, preprocessing, device)

        return with_own_settings(run)

    def _results(self, given):
        """The results for batches of images."""
        run = self._runner(given.device)
        return (run(images) for images in self._batches(given.data, self.batch_size, self._state.get("preprocessing")))

    def _batches(self, images, size, preprocessing):
        """Images (n, h, w, c); a list of images of different sizes is resized."""
        wanted = self._pair("image_size", self._setting("image_size", preprocessing))
        for start in range(0, len(images), size):
            part = images[start : start + size]
            yield part if isinstance(part, torch.Tensor) else _of_one_size(part, wanted)

    def _check_layer(self, backbone):
        if self.layer is not None and self.layer not in backbone.layers():
            raise ValueError(
                f"layer={self.layer!r} is not a layer of the network. Choose one of its layers, such as "
                f"{backbone.layers()[:20]}."
            )

    def _warn_of_unknown_preprocessing(self, backbone):
        if backbone.lacks and any(isinstance(value, str) for value in (self.mean, self.std, self.image_size)):
            warn(
                f"{type(self).__name__}: module={self.module!r} has no {backbone.lacks}, which tells how "
                "its images are preprocessed. Set mean, std and image_size",
            )

    def _warn_of_another_scale(self, backbone, images):
        """Warn of floats that are clearly beyond 0-1, if ``mean`` and ``std`` are those of a named model."""
        lowest, highest = getattr(self, "pixel_range_", (0.0, 1.0))
        is_auto = any(isinstance(value, str) for value in (self.mean, self.std))
        if backbone.is_named and is_auto and (lowest < -_BEYOND or highest > 1 + _BEYOND):
            low, high = range_of(images)
            warn(
                f"{type(self).__name__}: the images have floats from {low:.4g} to {high:.4g}, but "
                f"module={self.module!r} was trained on floats 0-1. Rescale the images, pass integers 0-255, which are "
                "scaled to 0-1, or set mean and std for these images",
            )

    def _run(self, backbone, images, preprocessing, device):
        """(n, h, w, c) images -> float32 results."""
        if images.dtype == torch.float64:
            images = _in_single_precision(images)  # converted here, because not every device supports float64
        x = self._preprocess(backbone, images.to(device), preprocessing)
        try:
            autocast = torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")
            with autocast, borrowed_generators(0, x.device):
                features = self._result(backbone, x)
        except (torch.OutOfMemoryError, WrongOutput):
            raise
        except (RuntimeError, AssertionError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"the network does not accept images of shape {tuple(x.shape)} ({error}). Set image_size, or pass "
                "images with another number of channels."
            ) from error
        if not torch.isfinite(features.sum()) and not torch.isfinite(features).all():
            low, high = range_of(images)
            raise FloatingPointError(
                f"the network returns NaN or infinity for images from {low:.4g} to {high:.4g}. Scale the images to "
                "0-1, and check mean, std and the weights."
            )
        return features

    def _preprocess(self, backbone, images, preprocessing):
        x = scale_pixels(images).permute(0, 3, 1, 2)
        if x.shape[1] == 1 and backbone.n_channels == 3:
            x = x.expand(-1, 3, -1, -1)
        size = self._pair("image_size", self._setting("image_size", preprocessing))
        if size is not None:
            check_size(x.shape[0] * x.shape[1] * size[0] * size[1], image_size=self.image_size, batch_size=len(x))
            x = _resized(x, size)
        # (x - mean) / std, the order of channels and their layout in one pass
        std = self._of_channels("std", x, preprocessing)
        shift = -self._of_channels("mean", x, preprocessing) / std
        bgr = self._setting("bgr", preprocessing)
        scaled = torch.empty_like(x, memory_format=torch.channels_last)
        for channel in range(x.shape[1]):
            source = x[:, -1 - channel] if bgr else x[:, channel]
            torch.addcmul(shift[channel], source, 1 / std[channel], out=scaled[:, channel])
        return scaled

    def _setting(self, name, preprocessing):
        """The value of a parameter; "auto" is that of the backbone."""
        value = getattr(self, name)
        if not isinstance(value, str):
            return value
        return (preprocessing or {name: getattr(Backbone, name) for name in _PREPROCESSING})[name]

    def _requested_size(self):
        return None if isinstance(self.image_size, str) else self._pair("image_size", self.image_size)

    def _pair(self, name, value):
        """(height, width), or None."""
        if value is None:
            return None
        size = (value,) * 2 if isinstance(value, int) else tuple(value)
        if len(size) != 2 or not all(accepts(Side, side) for side in size):
            raise ValueError(
                f"{name}={value!r} is not valid. Pass an integer from 1 to {LARGEST_SIDE}, or a height and a width in "
                "this range."
            )
        return size

    def _of_channels(self, name, x, preprocessing):
        given = self._setting(name, preprocessing)
        value = np.ravel(np.asarray(given))
        if value.dtype.kind not in "fiu" or len(value) not in (1, x.shape[1]) or not np.isfinite(value).all():
            raise ValueError(
                f"{name}={given!r} is not valid for images of {x.shape[1]} channels. Pass a number, or one for each "
                "channel."
            )
        if name == "std" and (value <= 0).any():
            raise ValueError(f"std={given!r} is not valid, because std must be positive. Pass positive numbers.")
        return torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(x.shape[1])


def _of_one_size(images, size):
    """A list of images (h, w, c) as one tensor (n, h, w, c)."""
    shapes = {tuple(image.shape[:2]) for image in images}
    if len(shapes) == 1:
        return stack_images(images)
    if size is None:
        raise ValueError(f"the images differ in size: {sorted(shapes)[:3]}. Set image_size, to which they are resized.")
    scaled = (scale_pixels(image).permute(2, 0, 1)[None] for image in images)
    return torch.cat([_resized(x, size).to(images[0].device) for x in scaled]).permute(0, 2, 3, 1)


def _resized(x, size):
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return nn.functional.interpolate(x, size, mode="bilinear", antialias=True)


def _in_single_precision(images):
    single = images.float()
    if not torch.isfinite(single.sum()) and not torch.isfinite(single).all():
        low, high = range_of(images)
        raise ValueError(
            f"the images have floats from {low:.4g} to {high:.4g}, but networks compute in float32, whose range ends "
            "at 3.4e38. Scale the images to 0-1."
        )
    return single
