"""Batch normalisation by the whole batch, also where several processes compute a share of it each."""

from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklinvariant._distributed import is_shared, whole_size, whole_sum

M = TypeVar("M", bound=nn.Module)


class _OfWholeBatch(_BatchNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise channels.

        Parameters
        ----------
        x : tensor of shape (n, c, ...)
            Samples with c channels.

        Returns
        -------
        tensor of shape (n, c, ...)
        """
        if not (self.training and is_shared()):
            return super().forward(x)
        self._check_input_dim(x)
        axes = [0, *range(2, x.ndim)]
        count = whole_size(len(x)) * x[0, 0].numel()
        shape = [1, -1, *[1] * (x.ndim - 2)]
        mean = whole_sum(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = whole_sum(centred.square().sum(axes)) / count
        self._update(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        x = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            x = x * self.weight.view(shape)
        return x if self.bias is None else x + self.bias.view(shape)

    @torch.no_grad()
    def _update(self, mean, variance):
        """Update the running averages, as in torch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


class BatchNorm1d(_OfWholeBatch, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d`, with the mean and variance of the whole batch."""


class BatchNorm2d(_OfWholeBatch, nn.BatchNorm2d):
    """Batch normalisation of images (n, c, h, w), with the mean and variance of the whole batch.

    It differs from `torch.nn.BatchNorm2d` only in the context of `sklinvariant.distributed`, in which several processes
    compute a part of the batch each.

    Parameters
    ----------
    num_features : int
        Number of channels c.
    eps : float, default=1e-5
        Number added to the variance, against divisions by zero.
    momentum : float or None, default=0.1
        Weight of a new batch in the running mean and variance. None averages all batches with equal weights.
    affine : bool, default=True
        Whether channels have a weight and a bias, which are learned.
    track_running_stats : bool, default=True
        Whether the layer keeps a running mean and variance, which it uses in evaluation mode.
    device : str, torch.device or None, default=None
        Device of the weights and statistics. None is torch's default.
    dtype : torch.dtype or None, default=None
        Type of the weights and statistics. None is torch's default.
    bias : bool, default=True
        Whether channels have a bias if ``affine``. Earlier versions of torch do not have this parameter.
    """


class BatchNorm3d(_OfWholeBatch, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d`, with the mean and variance of the whole batch."""


_OURS: dict[type, type] = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d, nn.BatchNorm3d: BatchNorm3d}


def normalize_by_whole_batch(network: M) -> M:
    """Let the batch normalisation of a network use the whole batch, as `BatchNorm2d` does.

    Parameters
    ----------
    network : torch.nn.Module
        The network, which is changed.

    Returns
    -------
    torch.nn.Module
        The same network.
    """
    for layer in network.modules():
        layer.__class__ = _OURS.get(type(layer), type(layer))
    return network
