"""Moments of an orbit, equation 2 of Morère et al. (2016), of all elements at once or accumulated one by one."""

import math

import torch

from sklinvariant._docstrings import documented_by
from sklinvariant._settings import in_own_precision


class Moment:
    r"""A moment of tensors that are added one by one; only a running value of their shape is kept.

    The moment of order n of m values f is the power mean

    .. math:: \left(\frac{1}{m} \sum_{i=1}^m |f_i|^n\right)^{1/n}

    High orders do not overflow, because each value is divided by the largest value so far before the power is taken.

    Parameters
    ----------
    order : float
        Order n. 1 is the signed mean, and infinity is the maximum.
    printed : bool, default=False
        Whether the sum is divided by m outside the root, as equation 2 is printed in the paper of Morère et al. (2016).

    Attributes
    ----------
    count : int
        Number m of tensors added so far.
    """

    value: torch.Tensor
    largest: torch.Tensor  # only for orders other than 1 and infinity

    def __init__(self, order: float, printed: bool = False) -> None:
        self.order = order
        self.printed = printed
        self.count = 0

    def add(self, x: torch.Tensor) -> None:
        """Add an element of the orbit.

        Parameters
        ----------
        x : tensor
            Features of this element. Its shape is the same for all elements.
        """
        self.count += 1
        if self.count == 1:
            self._begin(x)
        elif self.order == 1:
            self.value += (x - self.value) / self.count
        elif self.order == math.inf:
            torch.maximum(self.value, x, out=self.value)
        else:
            self._add_power(x.abs())

    def _begin(self, x):
        if self.order in (1, math.inf):
            self.value = x.clone()
        else:
            self.largest = x.abs()
            self.value = (self.largest > 0).to(x.dtype)  # Σ (|f| / largest)ⁿ

    def _add_power(self, x):
        largest = torch.maximum(self.largest, x)
        safe = _not_zero(largest)
        self.value *= _power(self.largest / safe, self.order)
        self.value += _power(x / safe, self.order)
        self.largest = largest

    def result(self) -> torch.Tensor:
        """The moment of the elements added so far.

        Returns
        -------
        tensor of the shape of an element
        """
        result = self.value
        if self.order not in (1, math.inf):
            result = self.largest * (result / self.count) ** (1 / self.order)
        return result * printed_factor(self.order, self.count) if self.printed else result


@documented_by(Moment)
@in_own_precision
def moment(x: torch.Tensor, order: float, dim: int, printed: bool = False) -> torch.Tensor:
    """The power mean of the elements of an orbit, as computed by `Moment`, for elements that are all in memory.

    Parameters
    ----------
    x : tensor
        Features of all elements.
    dim : int
        Axis of the elements.

    Returns
    -------
    tensor of the shape of x without the axis ``dim``
    """
    if order == 1:
        result = x.mean(dim)
    elif order == math.inf:
        result = x.amax(dim)
    else:
        x = x.abs()
        largest = x.amax(dim, keepdim=True)
        parts = _power(x / _not_zero(largest), order)
        result = largest.squeeze(dim) * parts.mean(dim) ** (1 / order)
    return result * printed_factor(order, x.shape[dim]) if printed else result


def printed_factor(order: float, count: int) -> float:
    """The ratio ``m^(1/n) / m`` of the printed form to the power mean; it is the same for every image."""
    return count ** (1 / order - 1)


def _not_zero(x):
    return torch.where(x > 0, x, 1)


def _power(x, order):
    return x.square() if order == 2 else x**order
