"""Conversion of network outputs, feature maps of either layout or tokens, to maps of cells (n, rows, columns, d)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_PREFIXES = {"cls_token", "class_token", "dist_token", "distillation_token", "reg_token", "register_tokens"}
_PREFIXES |= {"storage_tokens"}
_CLASS_TOKENS = {"cls_token", "class_token"}
_MOST_PREFIXES = 16  # class and register tokens before those of the patches


class WrongOutput(ValueError):
    """The output of a network cannot be converted as requested."""


def cells_of(features: Any, size: Sequence[int], network: nn.Module, layer: str | None) -> torch.Tensor:
    """The output of a layer for images of ``size`` (height, width) as maps (n, rows, columns, d).

    Raises a ValueError that suggests other layers if the output is not a map.
    """
    ndim = features.ndim if isinstance(features, torch.Tensor) else 0
    if ndim == 4:
        return features if _has_channels_last(features.shape, size) else features.permute(0, 2, 3, 1)
    if ndim == 3:
        return _cells_of_tokens(features, size, network)
    given = f"shape {tuple(features.shape)}" if ndim else type(features).__name__
    hint = ""
    if layer is None and hasattr(network, "forward_features"):
        hint = (
            ", or pass a module whose forward is the network's forward_features; for models of timm this is "
            'timm.create_model(name, num_classes=0, global_pool="")'
        )
    raise WrongOutput(
        f"layer={layer!r} returns {given}, but a feature map (n, c, h, w) is required. Choose another layer, one of "
        f"{[name for name, _ in network.named_children()]} or inside these{hint}."
    )


def layers_of_maps(network: nn.Module, x: torch.Tensor) -> list[str]:
    """The layers of a network that return maps (n, c, h, w) of several cells for x, in the order in which they end."""
    found = []

    def note(name, output):
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            found.append(name)

    hooks = [
        part.register_forward_hook(lambda part, given, output, name=name: note(name, output))
        for name, part in network.named_modules()
        if name
    ]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def whole_of(features: Any, size: Sequence[int], network: nn.Module, layer: str | None) -> torch.Tensor:
    """The output of a layer as one vector for each image: its rows, the class token, or the mean of the cells."""
    if isinstance(features, torch.Tensor) and features.ndim == 2:
        return features
    if isinstance(features, torch.Tensor) and features.ndim == 3 and has_class_token(network):
        return features[:, 0]
    return cells_of(features, size, network, layer).flatten(1, 2).mean(1)


def has_class_token(network: nn.Module) -> bool:
    """Whether the first token is that of the whole image, found by the usual names of its parameter."""
    return any(name.rpartition(".")[2] in _CLASS_TOKENS for name, _ in network.named_parameters())


def _has_channels_last(shape, size):
    """Whether (n, a, b, c) has the aspect ratio of the images only if channels are last."""
    height, width = size

    def mismatch(rows, columns):  # in cells
        return abs(rows * width - columns * height) / max(size)

    tolerance = 0 if height == width else 2  # unpadded borders change the aspect ratio, but not of squares
    first, last = mismatch(*shape[2:]), mismatch(*shape[1:3])
    return first > tolerance and last <= tolerance and last < first


def _cells_of_tokens(tokens, size, network):
    """The tokens of patches on their grid, without the class and register tokens before them.

    If the network gives no information on its grid, and the tokens match no grid, they form one row.
    """
    count, (height, width) = tokens.shape[1], size
    patches, named = _patch_grid(network, size), _count_prefixes(network)
    if patches is not None and 0 <= count - math.prod(patches) <= _MOST_PREFIXES:
        return tokens[:, count - math.prod(patches) :].unflatten(1, patches)
    for prefixes in (named, 0, 1):
        rows = round(math.sqrt((count - prefixes) * height / width)) if count > prefixes else 0
        columns = (count - prefixes) // max(rows, 1)
        if rows and rows * columns == count - prefixes and abs(rows * width - columns * height) < max(size):
            return tokens[:, prefixes:].unflatten(1, (rows, columns))
    if patches is None and not named:
        return tokens[:, None]
    raise WrongOutput(
        f"the network returns {count} tokens, which do not match a grid of patches of images of {height} x {width} "
        "pixels, with or without class tokens. Choose another layer, or pass a module that returns only patch tokens."
    )


def _patch_grid(network, size):
    """Rows and columns of patches if the first convolution splits images into patches, else None."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.kernel_size != first.stride or first.stride == (1, 1) or isinstance(first.padding, str):
        return None
    return tuple(
        (length + 2 * border - kernel) // kernel + 1
        for length, border, kernel in zip(size, first.padding, first.kernel_size, strict=True)
    )


def _count_prefixes(network):
    """Number of class, distillation and register tokens, found by the usual names of their parameters (1, k, d)."""
    found = [value for name, value in network.named_parameters() if name.rpartition(".")[2] in _PREFIXES]
    return sum(value.numel() // value.shape[-1] for value in found)
