"""Joints of the clusters of neighbouring pixels: sums of products over a window of displacements.

Axes: n images, k clusters of the first view, q of the second, h×w pixels, D = 2 d + 1 displacements along each axis.
"""

import torch
from torch.nn.functional import pad

from sklinvariant._precision import current_precision
from sklinvariant._settings import in_own_precision
from sklinvariant.ops._chunks import compute_dtype
from sklinvariant.ops._kernels import has_kernel

WORKING_BYTES = 64 << 20  # memory that one chunk of displacements may need if it is unfolded

_ONE, _NO = (1, 1), (0, 0)
_MANY = 200  # number of displacements from which Fourier transforms are faster than convolutions
_convolution_backward = torch.ops.aten.convolution_backward


@in_own_precision
def displaced_joints(
    first: torch.Tensor, second: torch.Tensor, half_window: int, max_bytes: int = WORKING_BYTES
) -> torch.Tensor:
    r"""Joint distributions of the clusters of pixels at each displacement, not normalised.

    For the clusters i of the first view a and j of the second view b, the sums over images and pixels u at the
    displacement t are

    .. math:: P_t[i, j] = \sum_n \sum_u a_{n i}(u)\, b_{n j}(u + t)

    Parameters
    ----------
    first : tensor of shape (n, k, h, w)
        Probabilities of the clusters, times the weights of the pixels, which are 0 for missing pixels.
    second : tensor of shape (n, q, h, w)
        The same for the second view.
    half_window : int
        Largest displacement d in pixels. The displacements t = (down, right) range from -d to d on each axis.
    max_bytes : int, default=67108864
        Memory for intermediate results of a chunk of displacements, on a CPU.

    Returns
    -------
    float32 or float64 tensor of shape (2 d + 1, 2 d + 1, k, q)

    Notes
    -----
    The result is a cross-correlation. On a GPU a kernel computes it as one matrix product. On a CPU it is computed as
    the gradient of the small convolution of ``second`` with W, times ``first``, with respect to W. Libraries compute
    this gradient faster than a convolution with kernels of the size of an image, and its own gradients are small
    convolutions. Wide windows use Fourier transforms.
    """
    d, kernel = half_window, has_kernel(first, second)
    if (2 * d + 1) ** 2 >= (_many_on_gpu(first.shape[1], second.shape[1]) if kernel else _MANY):
        return _joints_by_spectrum(_computed(first), _computed(second), d, max_bytes)
    if kernel:
        from sklinvariant.ops.gpu._displaced_joints import displaced_joints as joints

        return joints(first, second, d)
    return _joints_by_convolution(_computed(first), _computed(second), d, max_bytes)


def _computed(view):
    return view.to(compute_dtype(view.dtype))


def _many_on_gpu(k, q):
    """Number of displacements from which Fourier transforms are faster than the kernel.

    Per pixel and image the kernel multiplies 2 k q numbers for each displacement. Fourier transforms read and write
    the spectra of the k + q planes about twelve times, whatever the window. The rates are half of those that NVIDIA
    states for an H200: 67 teraflops in float32 without tensor cores, 4.8 terabytes per second. With tensor cores the
    kernel is limited by its loads from the cache, to about four times the rate of float32.
    """
    flops = 33e12 if current_precision() == "float32" else 132e12
    by_spectrum = 12 * 4 * (k + q) / 2.4e12
    return by_spectrum / (2 * max(k, 16) * q / flops)


def _joints_by_convolution(first, second, d, max_bytes):
    width, (h, w) = 2 * d + 1, first.shape[-2:]
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
