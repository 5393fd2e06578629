"""What stands between group convolutions: layers of maps over a group (n, c · order, h, w), c varying slowest."""

from torch import nn
from torch.nn import functional as F

from sklinvariant.networks._group import Group
from sklinvariant.networks._group_convolutions import check_stride, pair


class GroupBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of maps over a group: one mean, variance, weight and bias for all elements of a channel.

    Parameters
    ----------
    num_features : int
        Channels c; the maps have c · order.
    group : str or Group
        See `Group`.
    eps, momentum, device, dtype
        As `torch.nn.BatchNorm2d` has them.
    """

    def __init__(self, num_features, group, *, eps=1e-5, momentum=0.1, device=None, dtype=None):
        super().__init__(num_features, eps=eps, momentum=momentum, device=device, dtype=dtype)
        self.group = group if isinstance(group, Group) else Group(group)

    def forward(self, x):
        by_channel = x.unflatten(1, (-1, self.group.order)).flatten(2, 3)  # (n, c, order h, w)
        if self.training and by_channel.numel() == self.num_features:  # a single number has no variance
            running = self.running_mean, self.running_var
            return F.batch_norm(by_channel, *running, self.weight, self.bias, eps=self.eps).view_as(x)
        return super().forward(by_channel).view_as(x)


class GroupPool2d(nn.Module):
    """Means or maxima of squares of pixels; a stride that a turned image would not be seen alike with is refused.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Pixels along a side.
    stride : int, default=2
        Pixels from one square to the next.
    padding : int or (int, int), default=0
        Pixels around the maps, which do not count. With a stride of 2 a kernel of 2 without padding fits even sizes,
        and one of 3 with padding 1 odd ones.
    mode : {"mean", "max"}, default="mean"

    Raises
    ------
    ValueError
        From ``forward`` where ``size + 2 padding - kernel_size`` is not a multiple of the stride.
    """

    def __init__(self, kernel_size, *, stride=2, padding=0, mode="mean"):
        super().__init__()
        if mode not in ("mean", "max"):
            raise ValueError(f"mode must be 'mean' or 'max', got {mode!r}")
        self.kernel_size, self.padding = pair(kernel_size), pair(padding)
        self.stride, self.mode = stride, mode

    @classmethod
    def halving(cls, sizes, mode="mean"):
        """The one that fits maps of (h, w): 2 × 2 pixels of even sides, 3 × 3 of odd ones; h becomes ⌈h / 2⌉."""
        odd = [size % 2 for size in sizes]
        return cls([2 + rest for rest in odd], padding=odd, mode=mode)

    def forward(self, x):
        check_stride(type(self).__name__, x.shape[-2:], self.kernel_size, self.stride, self.padding)
        if self.mode == "max":
            return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, count_include_pad=False)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, mode={self.mode!r}"


class GroupUpsample2d(nn.Module):
    """Doubles maps bilinearly, to 2 h pixels or 2 h - 1: the sizes that `GroupPool2d.halving` halved, and exact.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the answer.

    Raises
    ------
    ValueError
        From ``forward`` where a side is neither 2 h nor 2 h - 1.
    """

    def __init__(self, size):
        super().__init__()
        self.size = pair(size)

    def forward(self, x):
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
        # pixels of an odd size lie on those of the half and between, those of an even one beside them
        odd = any(wanted % 2 and wanted != here for wanted, here in zip(size, x.shape[-2:], strict=True))
        return F.interpolate(x, size, mode="bilinear", align_corners=odd)

    def extra_repr(self):
        return f"size={self.size}"
