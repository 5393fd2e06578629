"""The equivariance error of a network: rotated images should give rotated feature maps."""

from collections.abc import Callable
from typing import Any, Literal

import torch

from sklinvariant._settings import with_own_settings
from sklinvariant.base import validated
from sklinvariant.images import check_pixels, scale_pixels
from sklinvariant.networks import Group


@with_own_settings
@validated
def equivariance_error(
    module: Callable,
    group: str | Group,
    images: Any,
    *,
    input: Literal["image", "group"] = "image",
    output: Literal["image", "group", "invariant"] = "group",
    per_element: bool = False,
) -> Any:
    r"""Equivariance error of a network under a group, 0 for an exactly equivariant network.

    .. math:: \max_g \frac{\lVert f(L_g x) - L_g f(x) \rVert}{\lVert f(x) \rVert}

    where g ranges over the group elements and norms are over all images. Rounding in float32 gives about 1e-7 for a
    layer and 1e-6 for a network; on a GPU about 1e-3, unless ``torch.backends.cudnn.allow_tf32`` is False. A network
    without equivariance has an error of about 1.

    Parameters
    ----------
    module : torch.nn.Module or callable
        The function f from a tensor (n, c, h, w) to a tensor. Its mode is not changed: in training mode, layers such as
        dropout and batch normalisation may give different results in each call.
    group : str or Group
        "C4", "D4", "C8", …; see `sklinvariant.networks.Group`.
    images : array or tensor of shape (n, h, w) or (n, h, w, c)
        Integers 0-255, which are scaled to 0-1, or floats. Tensors must have the device and the precision of the
        module. Images must be square if the group contains rotations by 90 degrees.
    input : {"image", "group"}, default="image"
        Action of L_g on the images. "image" moves pixels. "group" also permutes the c · order channels of maps over the
        group (c varies slowest), the input of an inner layer.
    output : {"group", "image", "invariant"}, default="group"
        Action of L_g on the output: "group" for maps (n, c · order, h, w) or embeddings (n, c, order), "image" for
        images (n, c, h, w), "invariant" for features that must not change.
    per_element : bool, default=False
        Return the error for each g, in the order of `Group`.

    Returns
    -------
    float, or ndarray of shape (order,) if ``per_element``
        The error. It is 0 if the output is always 0.

    Raises
    ------
    ValueError
        If the images are not square but the group contains rotations by 90 degrees, or if the shape of the output does
        not match ``output``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant.metrics import equivariance_error
    >>> from sklinvariant.networks import LiftingConv2d
    >>> images = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    >>> equivariance_error(LiftingConv2d(1, 4, 3, "C4", padding=1), "C4", images) < 1e-5
    True
    >>> equivariance_error(torch.nn.Conv2d(1, 4, 3, padding=1), "C4", images, output="image") > 0.1
    True
    """
    group = Group(group) if isinstance(group, str) else group
    x = check_pixels(images)
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(
            f"images has shape {tuple(x.shape)}, but (n, h, w) or (n, h, w, c) is required. Reshape the images."
        )
    x = scale_pixels(x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous())
    if group.needs_squares and x.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"images have {x.shape[-2]} × {x.shape[-1]} pixels, but the rotations of {group.name} require square "
            "images. Crop or pad the images."
        )
    if input == "group" and x.shape[1] % group.order:
        raise ValueError(
            f'images have {x.shape[1]} channels, but input="group" requires a multiple of the {group.order} elements '
            f"of {group.name}. Pass feature maps of the group."
        )
    move = group.act if input == "image" else group.act_on_maps
    with torch.no_grad():
        answer = module(x)
        distances = [_distance(module(move(x, g)), _moved(answer, group, g, output)) for g in range(group.order)]
        size = _norm(answer)
    errors = torch.stack(distances).cpu() / (size.cpu() if size > 0 else 1)
    return errors.numpy() if per_element else float(errors.max())


def _moved(answer, group, g, kind):
    if kind == "invariant":
        return answer
    if kind == "image" and answer.ndim == 4:
        return group.act(answer, g)
    if kind == "group" and answer.ndim == 4 and answer.shape[1] % group.order == 0:
        return group.act_on_maps(answer, g)
    if kind == "group" and answer.ndim == 3 and answer.shape[2] == group.order:
        return group.act_on_embedding(answer, g)
    raise ValueError(
        f'module returned shape {tuple(answer.shape)}, which output="{kind}" does not accept for the {group.order} '
        f"elements of {group.name}. Choose another output."
    )


def _norm(x):
    largest = x.abs().max().double()
    return largest * torch.linalg.vector_norm(x / torch.where(largest > 0, largest, 1), dtype=torch.float64)


def _distance(one, other):
    if one.shape != other.shape:
        raise ValueError(
            f"module returned shape {tuple(other.shape)}, but {tuple(one.shape)} for transformed images; both must be "
            "equal. Pass a module whose output shape depends only on the input shape."
        )
    return _norm(one - other)
