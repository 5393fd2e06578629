"""Moments of an orbit: equation 2 of Morère et al. (2016), of all its elements at once or of one after the other."""

import math

import torch

from sklinvariant._settings import in_own_precision


class Moment:
    """A moment of tensors that come one by one: only a running value of their shape is held.

    The power mean ``(1/m Σ |f|ⁿ)^(1/n)``; order 1 is the mean, with its sign, and infinity the maximum. With
    ``printed`` it is ``1/m (Σ |f|ⁿ)^(1/n)``, as the equation is printed. High orders do not overflow: powers are of
    parts of the largest value so far.
    """

    def __init__(self, order, printed=False):
        self.order = order
        self.printed = printed
        self.count = 0

    def add(self, x):
        """Take one more element of the orbit."""
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

    def result(self):
        """The moment of what was added."""
        result = self.value
        if self.order not in (1, math.inf):
            result = self.largest * (result / self.count) ** (1 / self.order)
        return result * printed_factor(self.order, self.count) if self.printed else result


@in_own_precision
def moment(x, order, dim, printed=False):
    """The same of all elements along an axis."""
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


def printed_factor(order, count):
    """What the printed form is times the power mean: ``m^(1/n) / m``, the same for every image."""
    return count ** (1 / order - 1)


def _not_zero(x):
    return torch.where(x > 0, x, 1)


def _power(x, order):
    return x.square() if order == 2 else x**order
