"""Patches of images, their whitening, and the convolution of images with filters.

Axes: n images of h × w pixels and c channels, k filters, patches of i × j pixels, their p = i·j·c numbers by pixel.
"""

import torch
from torch.nn.functional import avg_pool2d, conv2d

from sklinvariant._settings import in_own_precision
from sklinvariant.accumulate import Moments
from sklinvariant.ops import in_safe_unit


@in_own_precision
def take_patches(images: torch.Tensor, window: tuple[int, int], index: torch.Tensor) -> torch.Tensor:
    """Patches (len(index), p) of images (n, h, w, c), indexed by image, row and column."""
    h, w = images.shape[1:3]
    rows, columns = h - window[0] + 1, w - window[1] + 1
    windows = images.unfold(1, window[0], 1).unfold(2, window[1], 1)  # (n, rows, columns, c, i, j), a view
    index = index.to(images.device)
    patches = windows[index // (rows * columns), index // columns % rows, index % columns]
    return patches.movedim(1, -1).flatten(1)


@in_own_precision
def zca(moments: Moments, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (p,) and symmetric whitening matrix (p, p) of rows, float64: ``(x - mean) @ whitening`` is nearly white.

    The moments must contain all products.

    ``eps`` times the mean variance is added to each variance, so that noise is not amplified.
    """
    assert moments.products is not None
    mean, unit = moments.columns.mean, moments.columns.unit
    variances, directions = torch.linalg.eigh(moments.products / moments.columns.mass)
    variances = variances.clamp_min(0) + eps * variances.mean()
    if not variances.max() > 0:  # all rows are equal
        return mean, torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    tiny = torch.finfo(torch.float64).eps * len(variances) * variances.max()
    scale = torch.where(variances > tiny, variances, torch.inf).rsqrt()  # a direction without variance becomes 0
    return mean, (directions * scale) @ directions.T / unit


def patch_deviations(images: torch.Tensor, window: tuple[int, int], stride: int) -> torch.Tensor:
    """Standard deviations (n, 1, h', w') of all patches of images (n, c, h, w), by box filters."""
    if torch.compiler.is_compiling():  # from the patches themselves, because ONNX has no box filters in float64
        patches = images.unfold(2, window[0], stride).unfold(3, window[1], stride)  # (n, c, h', w', i, j)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).std(3, correction=0)[:, None]
    # a difference of squares, computed in float64 if the device supports it
    wide = images if images.device.type == "mps" else images.double()
    wide, unit = in_safe_unit(wide.contiguous())  # contiguous channels, which are faster to sum
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

    With ``flat``, each patch is normalised: its mean is subtracted, and it is divided by its standard deviation plus
    ``flat``. Filters that sum to 0 ignore the mean, and the division can follow the product, so no patches are copied.
    """
    if flat is not None:
        images = images - images.mean((1, 2, 3), keepdim=True)  # to reduce rounding errors; the filters ignore it
        filters = filters - filters.mean(1, keepdim=True)
    x = images.permute(0, 3, 1, 2)
    weight = filters.view(len(filters), *window, -1).permute(0, 3, 1, 2).to(x)
    weight = weight.contiguous(memory_format=torch.channels_last)
    maps = conv2d(x.contiguous(memory_format=torch.channels_last), weight, stride=stride)
    maps = maps.permute(0, 2, 3, 1)
    if flat is not None:
        maps.div_(patch_deviations(x, window, stride).add_(flat).permute(0, 2, 3, 1))
    return maps.add_(bias.to(maps))
