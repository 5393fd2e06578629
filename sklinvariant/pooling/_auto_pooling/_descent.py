"""The objective of auto-pooling as a function of the moments of the data, and its minimisation.

J = λ J₁ + J₂ depends on the frames only through S = E[yyᵀ + y′y′ᵀ] and S_Δ = E[(y−y′)(y−y′)ᵀ]. With A = PᵀP,

    J₁ = ½ tr(P S_Δ Pᵀ),   J₂ = ½ tr((I − A) S (I − A)),   so   J = ½ (tr S − tr(P L Pᵀ) + tr(P Q Pᵀ P Pᵀ))

with L = 2S − λ S_Δ and Q = S. If y′ is reconstructed from z instead of z′, J₂ = ½ (tr S − tr(A B) + tr(A Q A)) with
Q = 2 S₁ and B = 2 S₁ + C + Cᵀ for S₁ = E[yyᵀ], C = E[yy′ᵀ] (A is symmetric: only C + Cᵀ = S − S_Δ is needed).

Axes: d features, k components.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.pooling._pair_moments import PairMoments


class Iterate(NamedTuple):
    """The state of the descent: P (k, d), J in units of the data, and the norm of the projected gradient."""

    components: torch.Tensor
    objective: float
    residual: float


class PoolingObjective:
    """J and its gradient from `PairMoments`, at a cost that does not depend on the number of frames.

    Moments are divided by tr S, because the descent must not depend on the units of the features; P has no units.
    """

    def __init__(self, moments: PairMoments, invariance: float, cross: bool = False) -> None:
        self.unit = float(moments.total.trace()) / moments.n_pairs or 1.0
        total, change = (part / moments.n_pairs / self.unit for part in (moments.total, moments.change))
        self.constant = float(total.trace())
        self.change, self.gain, self.quadratic = change, 2 * total, total
        if cross:
            first: Any = moments.first
            self.quadratic = first * (2 / moments.n_pairs / self.unit)
            self.gain = self.quadratic + total - change
        self.invariance = invariance
        self.linear = self.gain - invariance * change

    def at(self, components: torch.Tensor) -> "_Point":
        return _Point(self, components, components @ self.linear, components @ self.quadratic)

    def errors(self, components: torch.Tensor) -> tuple[float, float]:
        """J₁ and J₂ in units of the data."""
        change = (components @ self.change * components).sum()
        gain, cost = self.ray(components)
        missed = max(self.constant - gain + cost, 0.0)
        return float(change) / 2 * self.unit, missed / 2 * self.unit

    def ray(self, components: torch.Tensor) -> tuple[float, float]:
        """The gain and the cost for `best_multiple`: tr(P B Pᵀ) and tr(P Q Pᵀ P Pᵀ)."""
        gain = (components @ self.gain * components).sum()
        cost = ((components @ self.quadratic @ components.T) * (components @ components.T)).sum()
        return float(gain), float(cost)


class _Point:
    """P with P L and P Q, from which J and its gradient are computed by products of (k, k) and (k, d) matrices."""

    def __init__(self, objective, components, linear, quadratic):
        self.objective, self.components, self.linear, self.quadratic = objective, components, linear, quadratic
        self.cost = quadratic @ components.T
        self.overlap = components @ components.T
        self.value = 0.5 * (
            objective.constant - float((components * linear).sum()) + float((self.cost * self.overlap).sum())
        )

    def gradient(self):
        return self.overlap @ self.quadratic + self.cost @ self.components - self.linear

    def extrapolated(self, other, step):
        """Extrapolate by ``step`` times the difference to ``other``. No product with a (d, d) matrix is needed."""
        return _Point(
            self.objective,
            *(
                here + step * (here - there)
                for here, there in (
                    (self.components, other.components),
                    (self.linear, other.linear),
                    (self.quadratic, other.quadratic),
                )
            ),
        )

    def iterate(self):
        gradient = self.gradient()
        # at the bound 0, only a gradient that increases the component counts
        projected = torch.where(self.components > 0, gradient, gradient.clamp(max=0))
        unit = self.objective.unit
        return Iterate(self.components, self.value * unit, float(projected.norm()) * unit)


@in_own_precision
def best_multiple(components: torch.Tensor, gain: float, cost: float) -> torch.Tensor:
    """The multiple s P of ``components`` P that minimises J₂(sP) = ½ (c − s² gain + s⁴ cost)."""
    return components * (gain / (2 * cost)) ** 0.5 if gain > 0 and cost > 0 else components


def descend(objective: PoolingObjective, components: torch.Tensor) -> Iterator[Iterate]:
    """Yield the start, and then an `Iterate` for each step. End when rounding errors prevent a further decrease of J.

    This is accelerated projected gradient descent (FISTA; Beck, Teboulle 2009) with backtracking. The momentum is
    restarted if it points uphill or would increase J (O'Donoghue, Candès 2015).
    """
    here = ahead = objective.at(components)
    curvature, momentum = 1.0, 1.0
    yield here.iterate()
    while True:
        step, curvature = _projected_step(ahead, curvature)
        if step.value >= here.value:
            if momentum == 1.0:
                return
            ahead, momentum = here, 1.0
            continue
        new_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        share = (momentum - 1) / new_momentum
        if ((ahead.components - step.components) * (step.components - here.components)).sum() > 0:
            new_momentum, share = 1.0, 0.0
        ahead = step.extrapolated(here, share) if share else step
        here, momentum = step, new_momentum
        curvature *= 0.9  # so that steps grow again in flatter regions
        yield here.iterate()


def _projected_step(point, curvature):
    """A projected gradient step, and its curvature, which is doubled until the quadratic model bounds J."""
    gradient = point.gradient()
    slack = 8 * torch.finfo(gradient.dtype).eps * max(abs(point.value), point.objective.constant)
    while True:
        step = point.objective.at((point.components - gradient / curvature).clamp_(min=0))
        move = step.components - point.components
        bound = float((gradient * move).sum()) + curvature / 2 * float(move.square().sum())
        if step.value <= point.value + bound + slack:
            return step, curvature
        curvature *= 2
