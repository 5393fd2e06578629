"""Images under 3 x 3 matrices: one bilinear look-up for whatever was composed, none where pixels only change places."""

import math

import torch
from torch.nn.functional import grid_sample

from sklinvariant._settings import in_own_precision

_PADDING = {"constant": "zeros", "edge": "border", "reflect": "reflection"}


@in_own_precision
def resample(images, matrices, size=None, interpolation="bilinear", padding="constant", fill=0.0):
    """Images (n, c, h, w) moved by matrices (n or 1, 3, 3).

    A matrix takes points (x, y, 1) of the image to points of the answer; the origin is the centre of both, y goes
    down, and half the longer side of the image is 1. The answer is a canvas of ``size`` (h, w) pixels (None: as
    many as the image has) over the same rectangle. ``fill`` is a number or a tensor (n or 1, c, 1, 1).

    Turns by 90 degrees of square images, flips, and what they compose to, move pixels and compute none (see
    `pixel_moves`): these alone take images that are not floats.
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
    answer = None
    for kind in kinds:
        rows = (moves == kind).nonzero()[:, 0]
        here = rows.to(images.device)
        part_fill = fill[here] if isinstance(fill, torch.Tensor) and len(fill) == len(images) else fill
        part = _apply_kind(kind, images[here], matrices[rows], size, interpolation, padding, part_fill)
        if answer is None:
            answer = part.new_empty((len(images), *part.shape[1:]))
        answer[here] = part
    return answer


def _apply_kind(kind, images, matrices, size, interpolation, padding, fill):
    if kind >= 0:
        return _move_pixels(images, kind)
    return _interpolate(images, matrices, size, interpolation, padding, fill)


@in_own_precision
def pixel_moves(matrices, shape, size):
    """For each matrix which of the eight moves of a square it is, as ``4 transposed + 2 flip_x + flip_y``, or -1."""
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
    # grid_sample counts each axis from -1 to 1 and wants the way back, from the answer to the image
    unit = matrices.new_tensor([w / max(h, w), h / max(h, w), 1.0])
    back = (torch.linalg.inv(matrices) * unit / unit[:, None])[:, :2].to(images)
    points = _points(back, *size)
    seen = images
    if len(back) == 1 < n:  # one matrix for all: images become channels, so that weights are computed once a thread
        threads = torch.get_num_threads() if images.device.type == "cpu" else 1
        seen = images.reshape(math.gcd(n, threads), -1, h, w)
        points = points.expand(len(seen), -1, -1, -1)
    answer = grid_sample(seen, points, interpolation, _PADDING[padding], align_corners=False).reshape(n, c, *size)
    if padding == "constant" and (isinstance(fill, torch.Tensor) or fill != 0):
        # what lay outside counted as 0: give it the fill by the part of each pixel that it makes up
        ones = images.new_ones(len(back), 1, h, w)
        inside = grid_sample(ones, points[: len(back)], interpolation, align_corners=False)
        answer.addcmul_(torch.as_tensor(fill, dtype=answer.dtype, device=answer.device), 1 - inside)
    return answer


def _points(matrices, h, w):
    """(n, h, w, 2) where each pixel of an h × w canvas comes from: affine_grid as two broadcast sums, no product."""
    across = (2 * torch.arange(w, dtype=matrices.dtype, device=matrices.device) + 1 - w) / w
    down = (2 * torch.arange(h, dtype=matrices.dtype, device=matrices.device) + 1 - h) / h
    by_column = (matrices[:, :, 0, None] * across).mT.contiguous()  # (n, w, 2)
    by_row = (matrices[:, :, 1, None] * down + matrices[:, :, 2, None]).mT.contiguous()  # (n, h, 2)
    return by_column[:, None] + by_row[:, :, None]
