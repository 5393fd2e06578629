"""Backbones: networks from libraries and files, with the preprocessing that belongs to them."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import inspect
import json
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sklinvariant.base import how_to_install
from sklinvariant.feature_extraction._backbones._maps import WrongOutput, has_class_token, whole_of
from sklinvariant.feature_extraction._backbones._network_files import NETWORK_SUFFIXES, OnnxNetwork, read_network


class Backbone:
    """A network, its preprocessing, and how it computes a feature map and one vector for the whole image.

    Attributes
    ----------
    network : torch.nn.Module
        Takes float32 images (n, c, h, w).
    mean, std : float or list
        Subtracted from images of floats 0-1, which are then divided by the second.
    image_size : (int, int) or None
        Height and width that the network expects; None is any.
    bgr : bool
        Whether the network expects the channels in the order BGR.
    n_channels : int or None
        Number of channels that the network expects, if known.
    weights_prefix : str
        Prefix of the names of the weights in files of the whole model.
    architecture : str or None
        Description in JSON, from which the network is created again where its files are not available.
    is_named : bool
        Whether this is a model of a library, which comes with ``mean`` and ``std`` of images of floats 0-1.
    lacks : str
        File that would have told the preprocessing but is missing; "" if none is.
    """

    mean: float | list[float] = 0.0
    std: float | list[float] = 1.0
    image_size: tuple[int, int] | None = None
    bgr = False
    weights_prefix = ""
    architecture: str | None = None
    is_named = False
    lacks = ""

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network.float()
        self.network.eval()
        first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
        self.n_channels = None if first is None else first.in_channels

    def maps(self, x: torch.Tensor) -> Any:
        """The feature map (n, c, h, w), or tokens (n, tokens, c), of images."""
        return self.network(x)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """One vector for each image: (n, d)."""
        return whole_of(self.maps(x), x.shape[-2:], self.network, None)

    def at(self, layer: str, x: torch.Tensor) -> Any:
        """The output of a layer. Later layers are not computed."""
        children = dict(self.network.named_children())
        if type(self.network).forward is nn.Sequential.forward and layer in children:
            for name, module in children.items():  # a loop can be exported
                x = module(x)
                if name == layer:
                    return x
        return _output_of(self.network, layer, self.maps, x)

    def layers(self) -> list[str]:
        """The names that `at` takes."""
        return [name for name, _ in self.network.named_modules() if name]


class _Reached(Exception):
    """Ends a forward pass at the requested layer; not an error."""


def _output_of(network, layer, forward, x):
    def stop(module, args, output):
        raise _Reached(output)

    hook = network.get_submodule(layer).register_forward_hook(stop)
    try:
        forward(x)
    except _Reached as reached:
        return reached.args[0]
    finally:
        hook.remove()
    raise WrongOutput(
        f"layer={layer!r} is not used in the forward pass of the network, but its output is required. Choose another "
        "layer."
    )


class TimmBackbone(Backbone):
    """A model of timm. The map is that of ``forward_features``, the vector that before the classifier."""

    is_named = True

    def __init__(self, name: str, pretrained: bool, size: tuple[int, int] | None) -> None:
        timm = _library("timm", f"timm:{name}")
        if not timm.is_model(name.partition(".")[0]):
            raise ValueError(f'module="timm:{name}" is not a model of timm. {_similar(timm.list_models(), name)}')
        known = timm.models.get_pretrained_cfg(name)
        fixed = known is not None and known.fixed_input_size and size is not None
        options = {"img_size": size} if fixed else {}
        network = _loaded(
            lambda: timm.create_model(name, pretrained=pretrained, **options),
            f"timm:{name}",
            f"model.safetensors of https://huggingface.co/{getattr(known, 'hf_hub_id', None) or 'timm/' + name}",
        )
        super().__init__(network)
        preset = network.pretrained_cfg
        self.mean, self.std = list(preset["mean"]), list(preset["std"])
        self.image_size = tuple(preset["input_size"][1:])

    def maps(self, x: torch.Tensor) -> Any:
        return self.network.forward_features(x)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.forward_head(self.maps(x), pre_logits=True).flatten(1)


class TorchvisionBackbone(Backbone):
    """A classification network of torchvision. The vector is the input of the last linear layer."""

    is_named = True
    # the layer with the last feature map, in the order of preference
    _MAPS = ("encoder", "features", "layer4", "trunk_output", "Mixed_7c", "inception5b", "conv5", "layers")

    def __init__(self, name: str, pretrained: bool, size: tuple[int, int] | None) -> None:
        models = _library("torchvision.models", f"torchvision:{name}")
        if name not in models.list_models():
            raise ValueError(
                f'module="torchvision:{name}" is not a model of torchvision. {_similar(models.list_models(), name)}'
            )
        weights = models.get_model_weights(name).DEFAULT
        options = {"image_size": size[0]} if name.startswith("vit_") and size is not None and not pretrained else {}
        super().__init__(
            _loaded(
                lambda: models.get_model(name, weights=weights if pretrained else None, **options),
                f"torchvision:{name}",
                weights.url,
            )
        )
        preset = weights.transforms()
        self.mean, self.std = list(getattr(preset, "mean", [0.0])), list(getattr(preset, "std", [1.0]))
        self.image_size = tuple(2 * list(getattr(preset, "crop_size", [224])))[:2]
        children = dict(self.network.named_children())
        self._map = next((layer for layer in self._MAPS if layer in children), None)
        linear = [module for module in self.network.modules() if isinstance(module, nn.Linear)]
        self._classifier = linear[-1] if linear and children.keys() & {"fc", "classifier", "head", "heads"} else None

    def maps(self, x: torch.Tensor) -> Any:
        return self.network(x) if self._map is None else _output_of(self.network, self._map, self.network, x)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        if self._classifier is None:
            return super().whole(x)
        seen: list[torch.Tensor] = []
        hook = self._classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            self.network(x)
        finally:
            hook.remove()
        return seen[-1].flatten(1)


class TransformersBackbone(Backbone):
    """A vision model of transformers, from the Hugging Face hub, its cache or a local folder.

    The vector is the class token, else the pooled output. Of models of images and text only the vision tower is used.
    """

    is_named = True

    def __init__(
        self, name: str, pretrained: bool, size: tuple[int, int] | None, architecture: str | None = None
    ) -> None:
        library = _library("transformers", f"hf:{name}")
        if architecture is None:
            files = "config.json, preprocessor_config.json and model.safetensors"
            config, model, preset = _loaded(
                lambda: self._from_hub(library, name, pretrained),
                f"hf:{name}",
                f'{files} of https://huggingface.co/{name} into a folder, and pass "hf:FOLDER"',
                whole=True,
            )
        else:
            config, preset = library.AutoConfig.for_model(**json.loads(architecture)), {}
            model = library.AutoModel.from_config(config)
        tower = getattr(model, "vision_model", None)
        if isinstance(tower, nn.Module):
            model, self.weights_prefix = tower, "vision_model."
        super().__init__(model)
        self.architecture = config.to_json_string(use_diff=False)
        self.mean, self.std = _normalization_of_preset(preset)
        self.bgr = bool(preset.get("do_flip_channel_order"))
        self.image_size = _size_of_preset(preset)
        self.lacks = "" if preset else "preprocessor_config.json"
        taken = inspect.signature(self.network.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in taken else {}

    @staticmethod
    def _from_hub(library, name, pretrained):
        auto = library.AutoModel
        try:
            config = library.AutoConfig.from_pretrained(name)
            model = auto.from_pretrained(name, config=config) if pretrained else auto.from_config(config)
        except ValueError as error:
            raise ValueError(
                f'module="hf:{name}" is not a model of transformers ({_first_line(error)}). Pass the name of a vision '
                "model on the Hugging Face hub, or a folder with its config.json."
            ) from error
        try:
            preset = library.image_processing_utils.BaseImageProcessor.get_image_processor_dict(name)[0]
        except OSError:  # models without this file
            preset = {}
        return config, model, preset

    def _outputs(self, x):
        return self.network(x, **self._options)

    def maps(self, x: torch.Tensor) -> Any:
        return self._outputs(x).last_hidden_state

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self._outputs(x)
        pooled = getattr(outputs, "pooler_output", None)
        if has_class_token(self.network):
            return outputs.last_hidden_state[:, 0]
        if pooled is not None:
            return pooled.flatten(1)
        return whole_of(outputs.last_hidden_state, x.shape[-2:], self.network, None)


def _normalization_of_preset(preset):
    """Mean and standard deviation of images of floats 0-1, of the settings of an image processor of transformers."""
    normalizes = preset.get("do_normalize", True)
    mean = np.ravel(preset.get("image_mean", 0.0) if normalizes else 0.0)
    std = np.ravel(preset.get("image_std", 1.0) if normalizes else 1.0)
    if preset.get("rescale_offset"):  # of EfficientNet, as is include_top, which divides once more
        mean = mean + 1.0
    if preset.get("include_top"):
        std = std * preset["image_std"]
    scale = 255 * preset.get("rescale_factor", 1 / 255) if preset.get("do_rescale", True) else 255.0
    return (mean / scale).tolist(), (std / scale).tolist()


def _size_of_preset(preset):
    """(height, width) of the settings of an image processor of transformers."""
    size = preset.get("crop_size") if preset.get("do_center_crop") else None
    size = size or preset.get("size")
    if isinstance(size, int):
        return size, size
    if not isinstance(size, dict):
        return None
    side = size.get("shortest_edge", size.get("longest_edge"))
    return size.get("height", side), size.get("width", side)


class OpenClipBackbone(Backbone):
    """The image tower of a model of OpenCLIP, ``name`` or ``name/tag of its weights``. The vector is its embedding."""

    is_named = True
    weights_prefix = "visual."

    def __init__(self, name: str, pretrained: bool, size: tuple[int, int] | None) -> None:
        library = _library("open_clip", f"open_clip:{name}")
        name, _, tag = name.partition("/")
        if name not in library.list_models():
            raise ValueError(
                f'module="open_clip:{name}" is not a model of OpenCLIP. {_similar(library.list_models(), name)}'
            )
        tags = library.list_pretrained_tags_by_model(name)
        tag = tag or next(iter(tags), "")
        if pretrained and tag not in tags:
            raise ValueError(
                f'module="open_clip:{name}/{tag}" has no such weights. Choose one of {tags}, or set weights.'
            )
        known = library.get_pretrained_cfg(name, tag)
        options: dict[str, Any] = {"force_quick_gelu": True} if known.get("quick_gelu") else {}
        if size is not None:
            options["force_image_size"] = size[0] if size[0] == size[1] else size  # some models take only a side
        model = _loaded(
            lambda: library.create_model(name, pretrained=tag if pretrained else None, **options),
            f"open_clip:{name}",
            f"open_clip_model.safetensors of https://huggingface.co/{known.get('hf_hub', name).rstrip('/')}",
        )
        super().__init__(model.visual)
        preset = getattr(model.visual, "preprocess_cfg", {})
        self.mean, self.std = list(preset.get("mean", [0.0])), list(preset.get("std", [1.0]))
        side = preset.get("size", 224)
        self.image_size = (side, side) if isinstance(side, int) else tuple(side)

    def maps(self, x: torch.Tensor) -> Any:
        network = self.network
        if hasattr(network, "trunk"):
            return network.trunk.forward_features(x)
        if hasattr(network, "output_tokens"):
            network.output_tokens = True
            try:
                return network(x)[1]
            finally:
                network.output_tokens = False
        return _output_of(network, "layer4", network, x)

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


class FileBackbone(Backbone):
    """A network from an ONNX, TorchScript or torch.export file. Of an ONNX file, ``layer`` is one of its outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        _, channels, *size = getattr(network, "input_shape", (None,) * 4)
        self.n_channels = channels or self.n_channels
        self.image_size = None if None in size else tuple(size)

    def at(self, layer: str, x: torch.Tensor) -> Any:
        return self.network(x, layer) if isinstance(self.network, OnnxNetwork) else super().at(layer, x)

    def layers(self) -> list[str]:
        return self.network.outputs if isinstance(self.network, OnnxNetwork) else super().layers()


LIBRARIES: dict[str, Callable[..., Backbone]] = {
    "timm": TimmBackbone,
    "torchvision": TorchvisionBackbone,
    "hf": TransformersBackbone,
    "open_clip": OpenClipBackbone,
}
_WEIGHT_SUFFIXES = (".safetensors", ".npz")


def make_backbone(
    module: nn.Module | Callable | str | os.PathLike,
    *,
    pretrained: bool,
    size: tuple[int, int] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    architecture: str | None = None,
) -> Backbone:
    """The backbone that ``module`` is or names.

    ``size`` is the requested height and width of images, for networks that are created for one size. ``weights`` and
    ``architecture`` are those of a fitted estimator: what they hold is not read from files.
    """
    if isinstance(module, nn.Module):
        return Backbone(copy.deepcopy(module))
    if not isinstance(module, (str, os.PathLike)):
        network = module()
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"module={module!r} returned a {type(network).__name__}, but a torch.nn.Module is required. Pass a "
                "callable that returns one."
            )
        return Backbone(network)
    name = os.fspath(module)
    library, colon, rest = name.partition(":")
    if colon and library in LIBRARIES:
        if not rest:
            raise ValueError(
                f'module={name!r} names no model. Write its name after the colon, such as "timm:resnet18".'
            )
        known = {} if architecture is None else {"architecture": architecture}
        with contextlib.nullcontext() if weights is None else _Uninitialized():
            return LIBRARIES[library](rest, pretrained, size, **known)
    if name.lower().endswith(NETWORK_SUFFIXES):
        if weights is not None and name.lower().endswith(".onnx"):
            return FileBackbone(OnnxNetwork(torch.tensor(weights["file"])))
        return FileBackbone(read_network(name))
    if name.lower().endswith(_WEIGHT_SUFFIXES):
        exists = os.path.exists(name)
        raise (ValueError if exists else FileNotFoundError)(
            f"module={name!r} {'holds weights without a network' if exists else 'does not exist'}. Pass a "
            "torch.nn.Module, or the name of a model such as 'timm:resnet18', and a file of weights as weights."
        )
    if colon:
        raise ValueError(
            f"module={name!r} begins with an unknown library. Begin with one of "
            f"{', '.join(f'{prefix}:' for prefix in LIBRARIES)}, or pass a file that ends in one of {NETWORK_SUFFIXES}."
        )
    return _of_any_library(name, pretrained, size)


class _Uninitialized(TorchFunctionMode):
    """Leaves the weights of new networks as they are in memory, because others are loaded into them."""

    _DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return args[0] if function in self._DRAWS else function(*args, **(kwargs or {}))


def _of_any_library(name, pretrained, size):
    """A model of torchvision or timm, whichever is installed and has it."""
    found = []
    for library in ("torchvision", "timm"):
        try:
            return LIBRARIES[library](name, pretrained, size)
        except ImportError:
            continue
        except ValueError as error:  # no such name
            found.append(str(error))
    if found:
        raise ValueError(
            f"module={name!r} could not be created ({'; '.join(found)}). Choose a name known to torchvision or timm."
        )
    raise ImportError(
        f"module={name!r} requires torchvision or timm, but neither is installed. Run pip install torchvision, or pass "
        "a torch.nn.Module."
    )


def _library(module, name):
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:  # a torchvision for another torch raises a RuntimeError
        raise ImportError(
            f"module={name!r} requires {package}, which cannot be imported ({error}). Install it, "
            f"{how_to_install(package)}, or pass a torch.nn.Module or a file."
        ) from error


def _similar(names, name):
    return f"Choose one of its names, such as {difflib.get_close_matches(name, names, 5, 0.3) or sorted(names)[:5]}."


def _loaded(make, name, source, *, whole=False):
    """The result of ``make``. An error, if files cannot be downloaded, names those to provide: ``source``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other libraries
            return make()
    except (OSError, RuntimeError, ImportError) as error:
        way = source if whole else f"{source} and pass its path as weights"
        raise OSError(
            f'module="{name}" could not be loaded ({_first_line(error)}). If this machine has no access to the '
            f"network, download {way}."
        ) from error


def _first_line(error):
    return str(error).strip().partition("\n")[0].rstrip(".")
