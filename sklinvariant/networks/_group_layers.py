"""Layers between group convolutions, for maps over a group (n, c · order, h, w) where c is the slowest index."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant._distributed import is_shared
from sklinvariant._docstrings import documented_by
from sklinvariant.networks._batch_norm import BatchNorm2d
from sklinvariant.networks._group import Group
from sklinvariant.networks._group_convolutions import check_stride, pair


@documented_by(BatchNorm2d)
class GroupBatchNorm2d(BatchNorm2d):
    """Batch normalisation of maps over a group: one mean, variance, weight and bias for all elements of a channel.

    Parameters
    ----------
    num_features : int
        Number of channels c; the maps have c · order channels.
    group : str or Group
        "C4", "D4", "C8", … or a `Group`.
    """

    def __init__(
        self,
        num_features: int,
        group: str | Group,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, device=device, dtype=dtype)
        self.group = group if isinstance(group, Group) else Group(group)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise maps over the group.

        Parameters
        ----------
        x : tensor of shape (n, c · order, h, w)
            Maps over the group.

        Returns
        -------
        tensor of the shape of x
        """
        by_channel = x.unflatten(1, (-1, self.group.order)).flatten(2, 3)  # (n, c, order h, w)
        is_single = by_channel.numel() == self.num_features and not is_shared()
        if self.training and is_single:  # the variance of a single number is undefined
            running = self.running_mean, self.running_var
            return F.batch_norm(by_channel, *running, self.weight, self.bias, eps=self.eps).view_as(x)
        return super().forward(by_channel).view_as(x)


class GroupPool2d(nn.Module):
    """Mean or max pooling of maps over a group; strides that would break equivariance raise an error.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Size of the pooling window in pixels.
    stride : int, default=2
        Distance in pixels between windows.
    padding : int or (int, int), default=0
        Pixels added on each side of the maps, which are ignored by the pooling. With stride 2, a kernel of 2 without
        padding fits even sizes, and a kernel of 3 with padding 1 fits odd sizes.
    mode : {"mean", "max"}, default="mean"
        How the pixels of a window are pooled.

    Raises
    ------
    ValueError
        In ``forward``, if ``size + 2 * padding - kernel_size`` is not a multiple of the stride.
    """

    def __init__(
        self, kernel_size: int | Sequence[int], *, stride: int = 2, padding: int | Sequence[int] = 0, mode: str = "mean"
    ) -> None:
        super().__init__()
        if mode not in ("mean", "max"):
            raise ValueError(f"mode must be 'mean' or 'max', got {mode!r}")
        self.kernel_size, self.padding = pair(kernel_size), pair(padding)
        self.stride, self.mode = stride, mode

    @classmethod
    def halving(cls, sizes: Sequence[int], mode: str = "mean") -> Self:
        """The layer that halves maps of (h, w) to ⌈h / 2⌉: windows of 2 pixels for even sides, 3 for odd sides.

        Parameters
        ----------
        sizes : (int, int)
            Height and width of the maps in pixels.
        mode : str, default="mean"
            "mean" or "max" of the pixels of a window.

        Returns
        -------
        GroupPool2d
        """
        odd = [size % 2 for size in sizes]
        return cls([2 + rest for rest in odd], padding=odd, mode=mode)

    @documented_by(GroupBatchNorm2d.forward)
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool maps over the group.

        Returns
        -------
        tensor of shape (n, c · order, h', w')
        """
        check_stride(type(self).__name__, x.shape[-2:], self.kernel_size, self.stride, self.padding)
        if self.mode == "max":
            return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, count_include_pad=False)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, mode={self.mode!r}"


class GroupUpsample2d(nn.Module):
    """Bilinear upsampling from h to 2 h or 2 h - 1 pixels, which reverses the sizes of `GroupPool2d.halving`.

    The layer is exactly equivariant.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the result.

    Raises
    ------
    ValueError
        In ``forward``, if a side of the result is neither 2 h nor 2 h - 1.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = pair(size)

    @documented_by(GroupBatchNorm2d.forward)
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Upsample maps over the group.

        Returns
        -------
        tensor of shape (n, c · order, height, width)
            Maps of the given size.
        """
        for here, wanted in zip(x.shape[-2:], self.size, strict=True):
            if wanted not in (2 * here, 2 * here - 1):
                raise ValueError(
                    f"{type(self).__name__} doubles {here} pixels to {2 * here} or {2 * here - 1}, not {wanted}"
                )
        height, width = self.size
        if height % 2 == width % 2:
            return self._double(x, self.size)
        return self._double(self._double(x, (height, x.shape[-1])), self.size)

    def _double(self, x, size):
        # for an odd size, output pixels lie on the input pixels and between them; for an even size, beside them
        odd = any(wanted % 2 and wanted != here for wanted, here in zip(size, x.shape[-2:], strict=True))
        return F.interpolate(x, size, mode="bilinear", align_corners=odd)

    def extra_repr(self) -> str:
        return f"size={self.size}"
