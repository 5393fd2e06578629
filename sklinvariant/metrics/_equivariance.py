"""How nearly a network commutes with a group: turned images should give turned maps."""

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
    r"""How far a network is from commuting with a group: 0 where it does.

    .. math:: \max_g \frac{\lVert f(L_g x) - L_g f(x) \rVert}{\lVert f(x) \rVert}

    over the elements g; norms are over all images. Rounding in float32 makes about 1e-7 of a layer and 1e-6 of a
    network; on a GPU about 1e-3, unless ``torch.backends.cudnn.allow_tf32`` is False. A network that knows nothing of
    the group is somewhere about 1.

    Parameters
    ----------
    module : torch.nn.Module or callable
        f: takes a tensor (n, c, h, w) and gives one. It is called as it is: in training mode, layers such as dropout
        and batch normalisation may differ from call to call.
    group : str or Group
        "C4", "D4", "C8", …; see `sklinvariant.networks.Group`.
    images : array or tensor of shape (n, h, w) or (n, h, w, c)
        Whole numbers 0-255, read as 0-1, or floats; as tensors on the module's device and in its precision. Square
        ones, where the group has quarter turns.
    input : {"image", "group"}, default="image"
        What L_g does to the images: "image" moves pixels, "group" also permutes the channels c · order of maps over the
        group (c varying slowest), the input of a layer within a network.
    output : {"group", "image", "invariant"}, default="group"
        What L_g does to the answer: "group" takes it for maps (n, c · order, h, w) or an embedding (n, c, order),
        "image" for images (n, c, h, w), "invariant" for features that must not change.
    per_element : bool, default=False
        The figure of each g, in the order of `Group`.

    Returns
    -------
    float, or ndarray of shape (order,) where ``per_element``
        0 for an answer that is always 0.

    Raises
    ------
    ValueError
        For images that are not square where the group has quarter turns, and answers of a shape that does not fit.

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
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, c), got {tuple(x.shape)}")
    x = scale_pixels(x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous())
    if group.needs_squares and x.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"images must be square to be turned by {group.name}, got {x.shape[-2]} × {x.shape[-1]} pixels"
        )
    if input == "group" and x.shape[1] % group.order:
        raise ValueError(
            f"images have {x.shape[1]} channels, which are no maps over the {group.order} elements of {group.name}"
        )
    move = group.act if input == "image" else group.act_on_maps
    with torch.no_grad():
        answer = module(x)
        errors = [_distance(module(move(x, g)), _moved(answer, group, g, output)) for g in range(group.order)]
        size = _norm(answer)
    relative = torch.stack(errors).cpu() / (size.cpu() if size > 0 else 1)
    return relative.numpy() if per_element else float(relative.max())


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
        f'output="{kind}" does not fit what the module gave, of shape {tuple(answer.shape)}, and the {group.order} '
        f"elements of {group.name}"
    )


def _norm(x):
    largest = x.abs().max().double()
    return largest * torch.linalg.vector_norm(x / torch.where(largest > 0, largest, 1), dtype=torch.float64)


def _distance(one, other):
    if one.shape != other.shape:
        raise ValueError(f"the module gives shape {tuple(other.shape)}, but {tuple(one.shape)} for moved images")
    return _norm(one - other)
