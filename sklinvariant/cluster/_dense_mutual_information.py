"""Mutual information between predictions for neighbouring pixels (Ji, Henriques, Vedaldi 2019, equation 5).

Axes: n images, k clusters of the first view, q of the second, h×w pixels, D = 2 d + 1 displacements along each axis.
"""

import torch
from torch.nn.functional import pad

from sklinvariant._settings import in_own_precision
from sklinvariant.ops import joint_information

WORKING_BYTES = 64 << 20  # memory that one chunk of displacements may need if it is unfolded


@in_own_precision
def displaced_joints(
    first: torch.Tensor, second: torch.Tensor, half_window: int, max_bytes: int = WORKING_BYTES
) -> torch.Tensor:
    """Sums over pixels u and images of ``first[:, i, u] * second[:, j, u + t]``: (D, D, k, q), not normalised.

    ``first`` (n, k, h, w) and ``second`` (n, q, h, w) are probabilities times the weights of the pixels, which are 0
    for missing pixels. Displacements t = (down, right) range from -d to d. The result is a cross-correlation. It is
    computed as the gradient of the small convolution ``<first, second * W>`` with respect to W. Libraries compute this
    gradient faster than a convolution with kernels of the size of an image, and its own gradients are small
    convolutions. Rows of displacements are processed in chunks that fit ``max_bytes``. Wide windows use Fourier
    transforms.
    """
    d, (h, w) = half_window, first.shape[-2:]
    width = 2 * d + 1
    if width**2 >= _MANY:
        return _joints_by_spectrum(first, second, d, max_bytes)
    second = pad(second, (d, d, d, d))
    row_bytes = second.shape[1] * width * h * w * second.element_size()
    rows = min(max(1, max_bytes // row_bytes), width)
    parts = []
    for start in range(0, width, rows):
        size = min(rows, width - start)
        seen = second[:, :, start : start + h + size - 1]
        kernel = first.new_empty(()).expand(first.shape[1], second.shape[1], size, width)
        wanted = (False, True, False)
        parts.append(_convolution_backward(first, seen, kernel, None, _ONE, _NO, _ONE, False, _NO, 1, wanted)[1])
    return torch.cat(parts, dim=2).permute(2, 3, 0, 1)


_ONE, _NO = (1, 1), (0, 0)
_MANY = 200  # number of displacements from which Fourier transforms are faster
_convolution_backward = torch.ops.aten.convolution_backward


def _joints_by_spectrum(first, second, d, max_bytes):
    """The same correlation by Fourier transforms, for as many clusters of the first view at a time as fit."""
    shape = [size + d for size in first.shape[-2:]]  # padded, so that the circular correlation does not wrap around
    seen = torch.fft.rfft2(second, shape)
    step = max(1, max_bytes // (2 * seen[0].numel() * first.element_size()))
    displacements = [(torch.arange(-d, d + 1, device=first.device) % size) for size in shape]
    parts = []
    for clusters in first.split(step, dim=1):
        product = torch.einsum("nihw,njhw->ijhw", torch.fft.rfft2(clusters, shape).conj(), seen)
        around = torch.fft.irfft2(product, shape)
        parts.append(around.index_select(2, displacements[0]).index_select(3, displacements[1]))
    joints = torch.cat(parts).permute(2, 3, 0, 1)
    # if hardly any pixel allows a displacement, its sum is a rounding error, which normalisation would magnify
    mass = joints.detach().sum((-2, -1), keepdim=True)
    counts = mass > 1000 * torch.finfo(mass.dtype).eps * mass.max()
    return torch.where(counts, joints, 0.0).clamp_min(0.0)


@in_own_precision
def pooled_joint(first: torch.Tensor, second: torch.Tensor, half_window: int) -> torch.Tensor:
    """The sum of `displaced_joints` over all displacements: (k, q), by two cumulative sums and one product."""
    d = half_window
    for axis in (-1, -2):
        size = second.shape[axis]
        before = torch.cumsum(pad(second, (1, 0) if axis == -1 else (0, 0, 1, 0)), axis)
        ends = torch.arange(size, device=second.device)
        upper, lower = (ends + d + 1).clamp_max(size), (ends - d).clamp_min(0)
        second = before.index_select(axis, upper) - before.index_select(axis, lower)
    return torch.einsum("nihw,njhw->ij", first, second)


@in_own_precision
def dense_information(
    first: torch.Tensor,
    second: torch.Tensor,
    half_window: int,
    *,
    average: str = "information",
    entropy_weight: float = 1.0,
) -> torch.Tensor:
    """Mutual information of two dense predictions over all displacements up to ``half_window``, a scalar.

    ``average="information"`` is the mean of I(P_t) over displacements t; ``"joint"`` is I of the sum of the P_t.
    """
    return joint_information(dense_joints(first, second, half_window, average=average), entropy_weight).mean()


@in_own_precision
def dense_joints(
    first: torch.Tensor, second: torch.Tensor, half_window: int, *, average: str = "information"
) -> torch.Tensor:
    """The joint distributions, not normalised: (D, D, k, q), or (k, q) with ``average="joint"``. They are additive."""
    if average == "joint":
        return pooled_joint(first, second, half_window)
    return displaced_joints(first, second, half_window)
