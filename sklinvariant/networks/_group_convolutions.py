"""Convolutions that commute with a finite group: Cohen & Welling 2016, "Group equivariant convolutional networks".

A map over the group is (n, c · order, h, w), where the order is the number of the group's elements: channel ``c · order
+ u`` is what filter c turned by element u has seen. Each weight is stored once. An index makes of it the filters of all
elements, and one ordinary convolution does the rest.
"""

import math
from numbers import Integral

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant.networks._group import Group


def check_stride(layer, sizes, kernel_size, stride, padding):
    """Places where a kernel is put must lie evenly about the centre, or a turned image is seen at others."""
    for size, k, p in zip(sizes, kernel_size, padding, strict=True):
        rest = (size + 2 * p - k) % stride
        if rest:
            raise ValueError(
                f"{layer} of kernel_size={k}, stride={stride} and padding={p} leaves out {rest} of the pixels at one "
                f"border of {size}, and so would not be equivariant: size + 2 padding - kernel_size must be a multiple "
                f"of stride. An odd size needs an odd kernel with stride 2, an even size an even one"
            )


def pair(value):
    """(rows, columns) of one number or two."""
    return (value, value) if isinstance(value, Integral) else tuple(value)


def turned_filters(group, shape):
    """For all elements g how filters of (h, w) pixels are turned: (order, h w, h w), ``L_g ψ = ψ @ matrix``.

    Groups that are exact permute pixels. For the others a filter is the combination of rings of waves that comes
    nearest to its pixels; and a wave can be turned by any angle (Weiler, Hamprecht & Storath 2018). Looking pixels up
    bilinearly errs five times as much on 3 × 3 of them, whose corners a turn takes away.
    """
    if not group.is_exact:
        waves = [_ring_waves(shape[0], matrix) for matrix in group.matrices]
        return torch.stack([(turned @ torch.linalg.pinv(waves[0], rtol=1e-3)).T for turned in waves])
    h, w = shape
    basis = torch.eye(h * w, dtype=torch.float64, device="cpu").view(h * w, 1, h, w)
    return torch.stack([group.act(basis, element).flatten(1) for element in range(group.order)])


def _ring_waves(side, matrix, width=0.45, least_wavelength=2.6):
    """(side², waves): rings a pixel apart, with waves around them of at least so many pixels, moved by a matrix."""
    axis = torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2
    points = torch.stack([axis.repeat(side), axis.repeat_interleave(side)])
    x, y = torch.linalg.inv(matrix[:2, :2]) @ points
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    waves = []
    ring = 0.0 if side % 2 else 0.5
    while ring < side / 2:
        profile = torch.exp(-((radius - ring) ** 2) / (2 * width**2))
        frequencies = range(1, int(2 * math.pi * ring / least_wavelength) + 1)
        around = [wave(k * angle) for k in frequencies for wave in (torch.cos, torch.sin)]
        waves += [profile, *(profile * wave for wave in around)]
        ring += 1
    return torch.stack(waves, dim=1)


class _GroupConvolution(nn.Module):
    """What the convolutions share: weights (out, in, elements, k, k), the index that expands them, checks.

    The filter from u to g is the stored one for g⁻¹ u, turned by g. Images have no u or no g: their filters are turned
    by the other, and are stored without elements.
    """

    lifts = projects = False

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        group,
        *,
        stride=1,
        padding=0,
        bias=True,
        generator=None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.group = group if isinstance(group, Group) else Group(group)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.padding, self.stride = pair(kernel_size), pair(padding), stride
        if self.group.needs_squares and self.kernel_size[0] != self.kernel_size[1]:
            raise ValueError(f"kernel_size={kernel_size} must be square to be turned by {self.group.name}")
        if self.group.needs_squares and self.padding[0] != self.padding[1]:
            raise ValueError(f"padding={padding} must be the same on all sides to be turned by {self.group.name}")
        self._expand_by(*self._expansion(), device, dtype)
        n_stored = 1 if self.lifts or self.projects else self.group.order
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels, n_stored, *self.kernel_size, device=device, dtype=dtype)
        )
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator=None):
        """Normal weights of variance 2 / fan-in, drawn by the generator (None: torch's own), and no bias."""
        fan_in = self.weight[0].numel() * (self.group.order if self.projects else 1)
        drawn = torch.randn(self.weight.shape, generator=generator, dtype=torch.float64, device="cpu")
        self.weight.data.copy_(drawn * (2 / fan_in) ** 0.5)
        if self.bias is not None:
            self.bias.data.zero_()

    def _expansion(self):
        """Matrices that turn stored filters (None where pixels are picked), and for all expanded weights of one output
        channel, (g, c, u, k k), which of the stored (and turned) ones they are."""
        group, pixels = self.group, self.kernel_size[0] * self.kernel_size[1]
        one = torch.zeros(1, dtype=torch.int64, device="cpu")
        every = torch.arange(group.order, device="cpu")
        g, u = (one if self.projects else every)[:, None], (one if self.lifts else every)
        turn = (u if self.projects else g).expand(len(g), len(u))
        stored = (one if self.lifts or self.projects else group.products[group.inverses[g], u]).expand(len(g), len(u))
        n_stored = 1 if self.lifts or self.projects else group.order
        c = torch.arange(self.in_channels, device="cpu")[:, None, None]
        filters = c * n_stored + stored[:, None, :, None]  # (g, c, u, 1)
        matrices = turned_filters(group, self.kernel_size)
        if group.is_exact:
            return None, filters * pixels + matrices.argmax(1)[turn][:, None]
        pixel = torch.arange(pixels, device="cpu")
        return matrices.transpose(0, 1).flatten(1), (filters * group.order + turn[:, None, :, None]) * pixels + pixel

    def _expand_by(self, matrix, index, device, dtype):
        self.register_buffer("_index", index.flatten().to(device), persistent=False)
        turn = None if matrix is None else matrix.to(device, dtype or torch.get_default_dtype())
        self.register_buffer("_turn", turn, persistent=False)
        self._expanded = index.shape[0], index.shape[1] * index.shape[2]

    def filters(self):
        """All filters, as an ordinary convolution has them: (out · order, in · order, k, k), images without order."""
        stored = self.weight if self._turn is None else self.weight.flatten(3) @ self._turn
        n_out, n_in = self._expanded
        return stored.flatten(1).index_select(1, self._index).view(self.out_channels * n_out, n_in, *self.kernel_size)

    def biases(self):
        """One for all elements of a channel."""
        return None if self.bias is None else self.bias.repeat_interleave(self._expanded[0])

    def forward(self, x):
        if self.group.order > 1:
            check_stride(type(self).__name__, x.shape[-2:], self.kernel_size, self.stride, self.padding)
        return F.conv2d(x, self.filters(), self.biases(), self.stride, self.padding)

    def extra_repr(self):
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, group={self.group.name!r}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


class LiftingConv2d(_GroupConvolution):
    """Images (n, in_channels, h, w) -> maps over the group (n, out_channels · order, h', w').

    ``y(p, g) = Σ_q ψ(g⁻¹ (q - p)) x(q)``: an image is compared with a filter in all its poses, so that a turned image
    gives the turned map with elements permuted, ``(L_g y)(p, u) = y(g⁻¹ p, g⁻¹ u)``.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the images, and filters; each filter gives a channel for each element.
    kernel_size : int or (int, int)
        Pixels of a filter.
    group : str or Group
        "C4", "D4", "C8", …; see `Group`. Under C1, C2, C4, D1, D2 and D4 pixels of filters change places, which is
        exact; under the others filters are built of waves on rings, and turned images give nearly turned maps.
    stride : int, default=1
        Pixels from one place of the filter to the next. It has to fit the images' size, see Raises.
    padding : int or (int, int), default=0
        Pixels of 0 around the images.
    bias : bool, default=True
        Add a number for each filter.
    generator : torch.Generator or None, default=None
        Draws the weights; None is torch's own.
    device, dtype
        Of the weights, as torch's layers have them; None are torch's defaults.

    Raises
    ------
    ValueError
        From ``forward`` where ``size + 2 padding - kernel_size`` is not a multiple of the stride: then a turned image
        would be seen at other places. From the start, for filters that are not square or paddings of rows and columns
        that differ, and a group with quarter turns.

    Examples
    --------
    >>> import torch
    >>> from sklinvariant.networks import Group, LiftingConv2d
    >>> layer, group = LiftingConv2d(1, 5, 3, "C4", padding=1), Group("C4")
    >>> image = torch.rand(1, 1, 8, 8)
    >>> maps = layer(image)
    >>> maps.shape
    torch.Size([1, 20, 8, 8])
    >>> turned = layer(group.act(image, 1))
    >>> torch.allclose(turned, group.act_on_maps(maps, 1), atol=1e-5)
    True
    """

    lifts = True


class GroupConv2d(_GroupConvolution):
    """Maps over the group (n, in_channels · order, h, w) -> maps over the group (n, out_channels · order, h', w').

    ``y(p, g) = Σ_u Σ_q ψ(g⁻¹ (q - p), g⁻¹ u) x(q, u)``. Parameters and errors are those of `LiftingConv2d`.
    """


class ProjectingConv2d(_GroupConvolution):
    """Maps over the group (n, in_channels · order, h, w) -> images (n, out_channels, h', w'): the way back of lifting.

    ``y(p) = Σ_u Σ_q ψ(u⁻¹ (q - p)) x(q, u)``. Parameters and errors are those of `LiftingConv2d`.
    """

    projects = True


class GroupConvTranspose2d(_GroupConvolution):
    """Maps over the group -> larger maps over the group: the way back of a `GroupConv2d` with stride.

    A side of h pixels becomes ``(h - 1) stride - 2 padding + kernel_size``: twice as many with a kernel of 4 and
    padding 1, one less than twice as many with 3 and 1. All of it is exact, so that no size is refused; there is no
    ``output_padding``, which would not be. Parameters are those of `LiftingConv2d`.
    """

    def forward(self, x):
        weight = self.filters().transpose(0, 1)
        return F.conv_transpose2d(x, weight, self.biases(), self.stride, self.padding)
