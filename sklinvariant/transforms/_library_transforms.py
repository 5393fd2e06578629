"""Transformations of torchvision and kornia as functions of images and a generator."""

from typing import Any

import torch
from torch import nn

from sklinvariant._settings import borrowed_generators, draw_seed


def library_of(transform: Any) -> str | None:
    """The library from which a transformation, or a part of it, comes.

    Parameters
    ----------
    transform : object
        The transformation.

    Returns
    -------
    "torchvision", "kornia" or None
        None for transformations of this package and others.
    """
    parts = transform.modules() if isinstance(transform, nn.Module) else [transform]
    found = {type(part).__module__.partition(".")[0] for part in parts}
    return next((name for name in ("kornia", "torchvision") if name in found), None)


def apply_library(transform: Any, images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Transform images by a transformation of torchvision or kornia.

    Its random numbers come from torch's global generators, which are restored afterwards. torchvision draws once for
    all images that it gets, so it gets one at a time; kornia draws for each image.

    Parameters
    ----------
    transform : callable
        The transformation, which takes images (n, c, h, w).
    images : tensor of shape (n, h, w, c)
        Floats 0-1.
    generator : torch.Generator or None
        Seeds torch's global generators. None seeds them with 0.

    Returns
    -------
    tensor of shape (n, h, w, c)
    """
    if images.ndim != 4:
        raise ValueError(
            f"transforms={type(transform).__name__} transforms images, but the samples have shape "
            f"{tuple(images.shape[1:])}. Pass images (n, h, w, c), or set image_shape for flat rows"
        )
    x = images.permute(0, 3, 1, 2)
    with borrowed_generators(draw_seed(generator), images.device), torch.no_grad():
        seen = transform(x) if library_of(transform) == "kornia" else torch.stack([transform(image) for image in x])
    return seen.permute(0, 2, 3, 1)
