"""Convolutions that commute with a finite group: Cohen & Welling 2016, "Group equivariant convolutional networks".

A map over the group is (n, c · order, h, w), where the order is the number of elements of the group. Channel ``c ·
order + u`` is the response of filter c rotated by element u. Each weight is stored once. An index expands the weights
to the filters of all elements, which are applied by one ordinary convolution.
"""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant._docstrings import documented_by
from sklinvariant.networks._group import Group


def check_stride(
    layer: str, sizes: Sequence[int], kernel_size: Sequence[int], stride: int, padding: Sequence[int]
) -> None:
    """Raise a ValueError if the kernel positions are not symmetric about the centre of the image."""
    for size, k, p in zip(sizes, kernel_size, padding, strict=True):
        rest = (size + 2 * p - k) % stride
        if rest:
            raise ValueError(
                f"{layer} of kernel_size={k}, stride={stride} and padding={p} leaves out {rest} of the pixels at one "
                f"border of {size}, so it would not be equivariant. size + 2 padding - kernel_size must be a multiple "
                f"of stride. With stride 2 use an odd kernel for odd sizes and an even kernel for even sizes"
            )


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """One number or a pair of numbers as (rows, columns)."""
    if isinstance(value, (Integral, int)):
        return int(value), int(value)
    rows, columns = value
    return rows, columns


def turned_filters(group: Group, shape: tuple[int, int]) -> torch.Tensor:
    """Matrices that rotate filters of (h, w) pixels by all elements g: (order, h w, h w), ``L_g ψ = ψ @ matrix``.

    Exact groups permute pixels. For the others a filter is approximated by circular harmonics on rings, which can be
    rotated by any angle (Weiler, Hamprecht & Storath 2018). Bilinear interpolation has five times the error on 3 × 3
    pixels, because a rotation moves the corners outside the filter.
    """
    if not group.is_exact:
        waves = [_ring_waves(shape[0], matrix) for matrix in group.matrices]
        return torch.stack([(turned @ torch.linalg.pinv(waves[0], rtol=1e-3)).T for turned in waves])
    h, w = shape
    basis = torch.eye(h * w, dtype=torch.float64, device="cpu").view(h * w, 1, h, w)
    return torch.stack([group.act(basis, element).flatten(1) for element in range(group.order)])


def _ring_waves(side, matrix, width=0.45, least_wavelength=2.6):
    """(side², waves): harmonics of at least ``least_wavelength`` pixels on rings one pixel apart, moved by a matrix."""
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


_PARAMETERS = """Parameters
    ----------
    in_channels, out_channels : int
        Number of channels of the images or maps. A map over the group has one number for each channel and element.
    kernel_size : int or (int, int)
        Height and width of a filter in pixels.
    group : str or Group
        "C4", "D4", "C8", …; see `Group`. C1, C2, C4, D1, D2 and D4 permute the pixels of filters, which is exact. For
        the other groups filters are approximated by harmonics on rings, and the layer is only nearly equivariant.
    stride : int, default=1
        Distance in pixels between positions of the filter: on the input, or on the result of a transposed convolution.
        On the input it must fit the size, see Raises.
    padding : int or (int, int), default=0
        Number of zeros added on each side of the input, or of pixels removed on each side of the result of a transposed
        convolution.
    bias : bool, default=True
        Whether each output channel has a bias.
    generator : torch.Generator or None, default=None
        Draws the weights; None is torch's global generator.
    device : str, torch.device or None, default=None
        Device of the weights. None is torch's default.
    dtype : torch.dtype or None, default=None
        Type of the weights. None is torch's default.

    Raises
    ------
    ValueError
        In ``forward``, if ``size + 2 * padding - kernel_size`` is not a multiple of the stride, because the layer would
        not be equivariant; transposed convolutions take every size. In the constructor, if the kernel is not square or
        the paddings of rows and columns differ, and the group contains rotations by less than 180 degrees."""


class _GroupConvolution(nn.Module):
    """Base of the convolutions: weights (out, in, elements, k, k), the index that expands them, and checks.

    The filter from u to g is the stored one for g⁻¹ u, rotated by g. An image has no element on its side of the layer:
    the filters are rotated by the element of the other side and stored without elements.
    """

    lifts = projects = False
    bias: nn.Parameter | None
    _index: torch.Tensor
    _turn: torch.Tensor | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").replace("{parameters}", inspect.cleandoc(_PARAMETERS))

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        group: str | Group,
        *,
        stride: int = 1,
        padding: int | Sequence[int] = 0,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.group = group if isinstance(group, Group) else Group(group)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.padding, self.stride = pair(kernel_size), pair(padding), stride
        if self.group.needs_squares and self.kernel_size[0] != self.kernel_size[1]:
            raise ValueError(f"kernel_size={kernel_size} must be square for the rotations of {self.group.name}")
        if self.group.needs_squares and self.padding[0] != self.padding[1]:
            raise ValueError(f"padding={padding} must be the same on all sides for the rotations of {self.group.name}")
        self._expand_by(*self._expansion(), device, dtype)  # type: ignore[call-arg]
        n_stored = 1 if self.lifts or self.projects else self.group.order
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels, n_stored, *self.kernel_size, device=device, dtype=dtype)
        )
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters(generator)

    @documented_by(_PARAMETERS)
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw normal weights of variance 2 / fan-in and set biases to 0."""
        fan_in = self.weight[0].numel() * (self.group.order if self.projects else 1)
        drawn = torch.randn(self.weight.shape, generator=generator, dtype=torch.float64, device="cpu")
        self.weight.data.copy_(drawn * (2 / fan_in) ** 0.5)
        if self.bias is not None:
            self.bias.data.zero_()

    def _expansion(self):
        """The matrices that rotate stored filters (None for exact groups), and the indices (g, c, u, k k) of the
        expanded weights of one output channel among the stored (and rotated) ones."""
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

    def filters(self) -> torch.Tensor:
        """The filters of the ordinary convolution that computes the layer.

        Returns
        -------
        tensor of shape (out_channels · order, in_channels · order, height, width)
            An image has no order: its channels are not multiplied by it.
        """
        stored = self.weight if self._turn is None else self.weight.flatten(3) @ self._turn
        n_out, n_in = self._expanded
        return stored.flatten(1).index_select(1, self._index).view(self.out_channels * n_out, n_in, *self.kernel_size)

    def biases(self) -> torch.Tensor | None:
        """The biases of the ordinary convolution that computes the layer.

        Returns
        -------
        tensor of shape (out_channels · order,) or None
            They are equal for all elements of a channel. None is a layer without biases.
        """
        return None if self.bias is None else self.bias.repeat_interleave(self._expanded[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve images or maps.

        Parameters
        ----------
        x : tensor of shape (n, in_channels, h, w) or (n, in_channels · order, h, w)
            Images for `LiftingConv2d`, maps over the group for the other layers.

        Returns
        -------
        tensor of shape (n, out_channels, h', w') or (n, out_channels · order, h', w')
            Images of `ProjectingConv2d`, maps over the group of the other layers.
        """
        if self.group.order > 1:
            check_stride(type(self).__name__, x.shape[-2:], self.kernel_size, self.stride, self.padding)
        return F.conv2d(x, self.filters(), self.biases(), self.stride, self.padding)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, group={self.group.name!r}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )


class LiftingConv2d(_GroupConvolution):
    r"""Images (n, in_channels, h, w) -> maps over the group (n, out_channels · order, h', w').

    An image x is compared with a filter ψ in all its poses g:

    .. math:: y(p, g) = \sum_q \psi(g^{-1} (q - p))\, x(q)

    A rotated image gives the rotated map with permuted elements, :math:`(L_g y)(p, u) = y(g^{-1} p, g^{-1} u)`.

    {parameters}

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
    r"""Maps over the group (n, in_channels · order, h, w) -> maps over the group (n, out_channels · order, h', w').

    The sum is over all elements u and pixels q of a map x, with a filter ψ:

    .. math:: y(p, g) = \sum_u \sum_q \psi(g^{-1} (q - p), g^{-1} u)\, x(q, u)

    {parameters}
    """


class ProjectingConv2d(_GroupConvolution):
    r"""Maps over the group (n, in_channels · order, h, w) -> images (n, out_channels, h', w'): the reverse of lifting.

    As in `GroupConv2d`, but the result has no elements:

    .. math:: y(p) = \sum_u \sum_q \psi(u^{-1} (q - p))\, x(q, u)

    {parameters}
    """

    projects = True


class GroupConvTranspose2d(_GroupConvolution):
    """Maps over the group -> larger maps over the group: the transpose of a `GroupConv2d` with stride.

    A side of h pixels becomes ``(h - 1) * stride - 2 * padding + kernel_size``. With stride 2 and padding 1 this is 2 h
    for a kernel of 4 and 2 h - 1 for a kernel of 3. The layer is equivariant for every size. It has no
    ``output_padding``, which would break this.

    {parameters}
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve maps over the group.

        Parameters
        ----------
        x : tensor of shape (n, in_channels · order, h, w)
            Maps over the group.

        Returns
        -------
        tensor of shape (n, out_channels · order, h', w')
        """
        weight = self.filters().transpose(0, 1)
        return F.conv_transpose2d(x, weight, self.biases(), self.stride, self.padding)
