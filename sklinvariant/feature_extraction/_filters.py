"""Patches of images, their whitening, and filters slid over images as one convolution.

Axes: n images of h × w pixels and c channels, k filters, patches of i × j pixels, their p = i·j·c numbers by pixel.
"""

import torch
from torch.nn.functional import avg_pool2d, conv2d

from sklinvariant._settings import in_own_precision
from sklinvariant.ops import in_safe_unit


@in_own_precision
def take_patches(images: torch.Tensor, window: tuple[int, int], index: torch.Tensor) -> torch.Tensor:
    """(len(index), p) patches of images (n, h, w, c), numbered image by image and row by row of their places."""
    h, w = images.shape[1:3]
    rows, columns = h - window[0] + 1, w - window[1] + 1
    windows = images.unfold(1, window[0], 1).unfold(2, window[1], 1)  # (n, rows, columns, c, i, j), a view
    index = index.to(images.device)
    patches = windows[index // (rows * columns), index // columns % rows, index % columns]
    return patches.movedim(1, -1).flatten(1)


@in_own_precision
def fit_zca(rows: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (p,) and the symmetric whitening (p, p) of rows, float64: ``(x - mean) @ whitening`` is nearly white.

    ``eps`` times the mean variance is added to each variance, so that directions of noise are not blown up.
    """
    rows, unit = in_safe_unit((rows.cpu() if rows.device.type == "mps" else rows).double())
    mean = rows.mean(0)
    centred = rows - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(rows))
    variances = variances.clamp_min(0) + eps * variances.mean()
    if not variances.max() > 0:  # rows that are all alike
        return mean * unit, torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    tiny = torch.finfo(torch.float64).eps * len(variances) * variances.max()
    scale = torch.where(variances > tiny, variances, torch.inf).rsqrt()  # a direction without variance becomes 0
    return mean * unit, (directions * scale) @ directions.T / unit


def patch_deviations(images: torch.Tensor, window: tuple[int, int], stride: int) -> torch.Tensor:
    """(n, 1, h', w') standard deviations of all patches of images (n, c, h, w), by sums over boxes."""
    # of squares and their difference: in float64, where the device has it
    wide = images if images.device.type == "mps" else images.double()
    wide, unit = in_safe_unit(wide.contiguous())  # one plane a channel, which adds up quicker
    mean = avg_pool2d(wide.mean(1, keepdim=True), window, stride)
    square = avg_pool2d(wide.square().mean(1, keepdim=True), window, stride)
    return torch.addcmul(square, mean, mean, value=-1).clamp_(min=0).sqrt_().mul_(unit).to(images.dtype)


@in_own_precision
def slide(
    images: torch.Tensor,
    filters: torch.Tensor,
    bias: torch.Tensor,
    window: tuple[int, int],
    stride: int,
    flat: float | None = None,
) -> torch.Tensor:
    """``filters @ patch + bias`` of every patch: images (n, h, w, c), filters (k, p) -> (n, h', w', k).

    With ``flat`` each patch is first brought to mean 0 and divided by its standard deviation plus ``flat``. Filters
    that sum to 0 do not see the mean, and the division can follow the product: no patch is ever cut out.
    """
    if flat is not None:
        images = images - images.mean((1, 2, 3), keepdim=True)  # which filters would not see, but rounding would
        filters = filters - filters.mean(1, keepdim=True)
    x = images.permute(0, 3, 1, 2)
    weight = filters.view(len(filters), *window, -1).permute(0, 3, 1, 2).to(x)
    weight = weight.contiguous(memory_format=torch.channels_last)
    maps = conv2d(x.contiguous(memory_format=torch.channels_last), weight, stride=stride)
    maps = maps.permute(0, 2, 3, 1)
    if flat is not None:
        maps.div_(patch_deviations(x, window, stride).add_(flat).permute(0, 2, 3, 1))
    return maps.add_(bias.to(maps))
