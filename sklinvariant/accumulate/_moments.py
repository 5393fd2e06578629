"""Means and products of the columns of rows, which can be added for parts of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sklinvariant.accumulate._blocks import Blocks
from sklinvariant.accumulate._columns import Columns, deviations, measure_columns, scatter
from sklinvariant.base import as_numpy, as_tensor


@dataclass(frozen=True)
class Moments:
    """The columns of rows x, and the products of ``z = (x - mean) / unit`` with the unit of the columns.

    The moments of disjoint parts of the data can be added. Products are taken around the mean of each part, so no
    precision is lost if the mean is many times the deviation (Chan, Golub, LeVeque 1983).

    Parameters
    ----------
    columns : Columns
        Weight, mean and range of the columns.
    products : tensor of shape (d, d) or (d,), or None, default=None
        The sum of :math:`z^T z` over the rows, or its diagonal.
    """

    columns: Columns
    products: torch.Tensor | None = None

    def __add__(self, other: Moments) -> Moments:
        columns = _merged(self.columns, other.columns)
        if self.products is None or other.products is None:
            return Moments(columns)
        unit, mass = columns.unit, self.columns.mass * (other.columns.mass / columns.mass)
        step = (other.columns.mean - self.columns.mean) / unit
        products = mass * (step * step if self.products.ndim == 1 else torch.outer(step, step))
        products += self.products * (float(self.columns.reach.max()) / unit) ** 2  # 0 for equal rows, of any unit
        products += other.products * (float(other.columns.reach.max()) / unit) ** 2
        return Moments(columns, products)

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> Moments:
        """The moments in a fitted state."""
        mean, low, high = (as_tensor(state[name]).to(device) for name in ("mean", "low", "high"))
        products = None if state["products"] is None else as_tensor(state["products"]).to(device)
        return cls(Columns(float(state["n_rows"]), mean, low, high), products)

    def to_state(self) -> dict[str, Any]:
        """The moments of rows without weights as numpy arrays and plain values."""
        mass, mean, low, high = self.columns
        return {
            "n_rows": round(mass),
            "mean": as_numpy(mean),
            "low": as_numpy(low),
            "high": as_numpy(high),
            "products": None if self.products is None else as_numpy(self.products),
        }

    @property
    def total_deviation(self) -> float:
        """Root mean squared distance of the rows from their mean."""
        assert self.products is not None
        squares = self.products if self.products.ndim == 1 else self.products.diagonal()
        return self.columns.unit * (float(squares.sum()) / self.columns.mass) ** 0.5


def measure_moments(blocks: Blocks, axes: int) -> Moments:
    """The `Moments` of rows: without products (``axes=0``), with their diagonal (1) or all of them (2)."""
    columns = measure_columns(blocks)
    if axes == 0:
        return Moments(columns)
    if axes == 1:
        return Moments(columns, columns.mass * (deviations(blocks, columns) / columns.unit).square())
    return Moments(columns, scatter(blocks, columns.mean, columns.unit))


def _merged(one: Columns, two: Columns) -> Columns:
    """The columns of the rows of both."""
    mass = one.mass + two.mass
    low, high = torch.minimum(one.low, two.low), torch.maximum(one.high, two.high)
    mean = one.mean + (two.mean - one.mean) * (two.mass / mass)
    return Columns(mass, torch.minimum(torch.maximum(mean, low), high), low, high)
