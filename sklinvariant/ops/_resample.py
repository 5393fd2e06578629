"""Warp images by 3 x 3 matrices with a single interpolation; permutations of the pixels are applied exactly."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import grid_sample

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._kernels import has_kernel

_PADDING = {"constant": "zeros", "edge": "border", "reflect": "reflection"}


@in_own_precision
def resample(
    images: torch.Tensor,
    matrices: torch.Tensor,
    size: Sequence[int] | None = None,
    interpolation: str = "bilinear",
    padding: str = "constant",
    fill: float | torch.Tensor = 0.0,
) -> torch.Tensor:
    """Warp images by matrices.

    Rotations of square images by multiples of 90 degrees, flips, and their compositions permute the pixels and
    interpolate nothing (see `pixel_moves`). Only these accept images of integers.

    Parameters
    ----------
    images : tensor of shape (n, c, h, w)
        Images.
    matrices : tensor of shape (n, 3, 3) or (1, 3, 3)
        Each maps points (x, y, 1) of the image to points of the result. The origin is the centre of both, y points
        down, and half the longer side of the image has length 1.
    size : (int, int) or None, default=None
        Height and width of the result in pixels. It shows the same rectangle as the image. None is the size of the
        image.
    interpolation : {"bilinear", "bicubic", "nearest"}, default="bilinear"
        Interpolation between pixels.
    padding : {"constant", "edge", "reflect"}, default="constant"
        What lies outside the image: ``fill``, the border, or the mirror image.
    fill : float or tensor of shape (n, c, 1, 1) or (1, c, 1, 1), default=0.0
        Value outside the image.

    Returns
    -------
    tensor of shape (n, c, height, width)

    Examples
    --------
    >>> import torch
    >>> from sklinvariant.ops import resample
    >>> flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    >>> resample(torch.tensor([[[[1, 2], [3, 4]]]]), flip[None])
    tensor([[[[2, 1],
              [4, 3]]]])
    """
    shape = tuple(images.shape[-2:])
    size = shape if size is None else tuple(size)
    moves = pixel_moves(matrices, shape, size)
    kinds = moves.unique().tolist()
    if len(images) == 0:
        return images.new_empty(0, images.shape[1], *size)
    if len(kinds) == 1:
        return _apply_kind(kinds[0], images, matrices, size, interpolation, padding, fill)
    if len(matrices) == 1:
        matrices, moves = matrices.expand(len(images), 3, 3), moves.expand(len(images))
    answer = images  # replaced by a tensor with the dtype and size of the first part
    for i, kind in enumerate(kinds):
        rows = (moves == kind).nonzero()[:, 0]
        here = rows.to(images.device)
        part_fill = fill[here] if isinstance(fill, torch.Tensor) and len(fill) == len(images) else fill
        part = _apply_kind(kind, images[here], matrices[rows], size, interpolation, padding, part_fill)
        if i == 0:
            answer = part.new_empty((len(images), *part.shape[1:]))
        answer[here] = part
    return answer


def _apply_kind(kind, images, matrices, size, interpolation, padding, fill):
    if kind >= 0:
        return _move_pixels(images, kind)
    return _interpolate(images, matrices, size, interpolation, padding, fill)


@in_own_precision
def pixel_moves(matrices: torch.Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """Which of the eight symmetries of a square each matrix is.

    Parameters
    ----------
    matrices : tensor of shape (m, 3, 3)
        Matrices in the coordinates of `resample`.
    shape, size : (int, int)
        Height and width of the images and of the results.

    Returns
    -------
    int64 tensor of shape (m,)
        ``4 * transposed + 2 * flip_x + flip_y``, or -1 for a matrix that interpolates.
    """
    if shape != size:
        return torch.full((len(matrices),), -1, device=matrices.device)
    square = shape[0] == shape[1]
    linear, rest = matrices[:, :2, :2], torch.cat([matrices[:, :2, 2], matrices[:, 2]], dim=1)
    plain = (rest == rest.new_tensor([0, 0, 0, 0, 1])).all(1)
    upright = plain & (linear[:, [0, 1], [1, 0]] == 0).all(1) & (linear[:, [0, 1], [0, 1]].abs() == 1).all(1)
    lying = plain & (linear[:, [0, 1], [0, 1]] == 0).all(1) & (linear[:, [0, 1], [1, 0]].abs() == 1).all(1) & square
    # upright: out(x, y) = in(± x, ± y); lying: out(x, y) = in(row = a x, column = b y) with a, b the corner entries
    flip_x = torch.where(lying, linear[:, 0, 1], linear[:, 0, 0]) < 0
    flip_y = torch.where(lying, linear[:, 1, 0], linear[:, 1, 1]) < 0
    code = 4 * lying.long() + 2 * flip_x.long() + flip_y.long()
    return torch.where(upright | lying, code, -1)


def _move_pixels(images, kind):
    images = images.mT if kind & 4 else images
    axes = [axis for axis, bit in ((-1, 2), (-2, 1)) if kind & bit]
    return images.flip(axes) if axes else images.clone(memory_format=torch.contiguous_format)


def _interpolate(images, matrices, size, interpolation, padding, fill):
    n, c, h, w = images.shape
    back = _inverse_maps(matrices, h, w)
    if _has_kernel(images, back, interpolation):
        from sklinvariant.ops.gpu._resample import resample as kernel

        return kernel(images, back.to(images.device), size, interpolation, padding, fill)
    back = back.to(images)
    points = _points(back, *size)
    seen = images
    if len(back) == 1 < n:  # one matrix: with images as channels each thread computes the weights once
        threads = torch.get_num_threads() if images.device.type == "cpu" else 1
        seen = images.reshape(math.gcd(n, threads), -1, h, w)
        points = points.expand(len(seen), -1, -1, -1)
    answer = grid_sample(seen, points, interpolation, _PADDING[padding], align_corners=False).reshape(n, c, *size)
    if padding == "constant" and (isinstance(fill, torch.Tensor) or fill != 0):
        # points outside the image contributed 0: add the fill in proportion to their share of each pixel
        ones = images.new_ones(len(back), 1, h, w)
        inside = grid_sample(ones, points[: len(back)], interpolation, align_corners=False)
        answer.addcmul_(torch.as_tensor(fill, dtype=answer.dtype, device=answer.device), 1 - inside)
    return answer


def _inverse_maps(matrices, h, w):
    """The maps (n, 2, 3) from the result to the image, in coordinates from -1 to 1 on each axis (`grid_sample`)."""
    unit = matrices.new_tensor([w / max(h, w), h / max(h, w), 1.0])
    return (torch.linalg.inv(matrices) * unit / unit[:, None])[:, :2]


def _has_kernel(images, back, interpolation):
    learns = torch.is_grad_enabled() and (images.requires_grad or back.requires_grad)
    return images.numel() > 0 and not learns and interpolation != "bicubic" and has_kernel(images)


def _points(matrices, h, w):
    """(n, h, w, 2) source point of each pixel of an h × w result: affine_grid, computed by two broadcast sums."""
    across = (2 * torch.arange(w, dtype=matrices.dtype, device=matrices.device) + 1 - w) / w
    down = (2 * torch.arange(h, dtype=matrices.dtype, device=matrices.device) + 1 - h) / h
    by_column = (matrices[:, :, 0, None] * across).mT.contiguous()  # (n, w, 2)
    by_row = (matrices[:, :, 1, None] * down + matrices[:, :, 2, None]).mT.contiguous()  # (n, h, 2)
    return by_column[:, None] + by_row[:, :, None]


class Resampler(nn.Module):
    """Warp all images of one size by one of several fixed matrices, as `resample` does.

    For modules that are compiled or exported: what depends on the values of the matrices is computed in advance.

    Parameters
    ----------
    matrices : tensor of shape (m, 3, 3)
        Each maps points of the image to points of the result, in the coordinates of `resample`.
    shape : (int, int)
        Height and width of the images in pixels.
    interpolation : {"bilinear", "bicubic", "nearest"}
        Interpolation between pixels.
    fill : {"mean", "edge", "reflect"}, float or tensor of shape (1, c, 1, 1)
        Values outside an image: its mean pixel, its border, its mirror image, or these values.

    Attributes
    ----------
    moves : list of m int
        Which of the eight symmetries of a square each matrix is, or -1; see `pixel_moves`.
    """

    back: torch.Tensor

    def __init__(self, matrices: torch.Tensor, shape: tuple[int, int], interpolation: str, fill: Any) -> None:
        super().__init__()
        self.shape, self.interpolation, self.fill = shape, interpolation, fill
        self.moves = pixel_moves(matrices, shape, shape).tolist()
        self.register_buffer("back", _inverse_maps(matrices, *shape))

    def forward(self, images: torch.Tensor, i: int) -> torch.Tensor:
        """Warp images by one of the matrices.

        Parameters
        ----------
        images : tensor of shape (n, c, h, w)
            Images of the size ``shape``.
        i : int
            Index of the matrix.

        Returns
        -------
        tensor of the shape of the images
        """
        if self.moves[i] >= 0:
            return _move_pixels(images, self.moves[i])
        points = _points(self.back[i : i + 1].to(images), *self.shape)
        padding = _PADDING.get(self.fill, "zeros") if isinstance(self.fill, str) else "zeros"
        answer = grid_sample(
            images, points.expand(images.shape[0], -1, -1, -1), self.interpolation, padding, align_corners=False
        )
        if padding != "zeros":
            return answer
        fill = images.mean((2, 3), keepdim=True) if isinstance(self.fill, str) else self.fill
        inside = grid_sample(images.new_ones(1, 1, *self.shape), points, self.interpolation, align_corners=False)
        return answer + fill * (1 - inside)
