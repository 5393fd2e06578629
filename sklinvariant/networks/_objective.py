"""The cost J(R(F; Θ), y; W) that an encoder and a linear model minimise together (eq. 4 and 10)."""

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant._settings import borrowed_generators, draw_seed
from sklinvariant.networks._chi2 import chi2_map


class Objective(nn.Module):
    """Mean weighted cost of a batch: encoder, feature map, then the cost of a linear model or one of your own."""

    def __init__(self, encoder, feature_map, cost):
        super().__init__()
        self.encoder, self.feature_map, self.cost = encoder, feature_map, cost

    def get_extra_state(self):
        """What a checkpoint needs besides the parameters: the state of the generator that the encoder draws from."""
        generator = getattr(self.encoder, "generator", None)
        return {"generator": None if generator is None else generator.get_state()}

    def set_extra_state(self, state):
        if state["generator"] is not None:
            self.encoder.generator.set_state(state["generator"].cpu())

    def represent(self, bags):
        return map_features(self.encoder(bags), self.feature_map)

    def forward(self, batch):
        return self.cost(self.represent(batch.bags), batch.target, batch.weight)


def map_features(representation, feature_map):
    if feature_map == "chi2":
        return chi2_map(representation)
    if feature_map is None:
        return representation
    with borrowed_generators(0, representation.device):
        return feature_map(representation)


class LinearCost(nn.Module):
    """Log-loss, hinge or squared error of a linear model, plus ``alpha / 2 ||W||²``.

    ``gain`` brings the representation to a mean norm of 1, so that one ``alpha`` and one learning rate suit all.
    """

    def __init__(self, n_features, n_outputs, loss, alpha, gain, dtype):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_outputs, n_features, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(n_outputs, dtype=dtype))
        self.register_buffer("gain", torch.as_tensor(gain, dtype=dtype))
        self.loss, self.alpha = loss, alpha

    @classmethod
    def start(cls, representation, weight, n_outputs, loss, alpha):
        """All zero, with the gain of a few weighted representations (n, f) that are typical of the rest."""
        weight = weight.double()
        norm = float((weight @ representation.double().square().sum(1) / weight.sum().clamp(min=1e-300)).sqrt())
        gain = 1 / norm if norm > 0 else 1.0
        return cls(representation.shape[1], n_outputs, loss, alpha, gain, representation.dtype)

    @classmethod
    def restore(cls, state, loss, alpha, dtype):
        """What `export` gave, as a module again."""
        cost = cls(state["coef"].shape[1], len(state["coef"]), loss, alpha, state["gain"], dtype)
        with torch.no_grad():
            cost.weight.copy_(torch.as_tensor(state["coef"]) / state["gain"])
            cost.bias.copy_(torch.as_tensor(state["intercept"]))
        return cost

    def export(self):
        """Weights (o, f) and offsets (o,) of the representation as it is, numpy; and the gain."""
        return {
            "coef": (self.weight * self.gain).detach().cpu().numpy(),
            "intercept": self.bias.detach().cpu().numpy().copy(),
            "gain": float(self.gain),
        }

    def outputs(self, representation):
        return F.linear(representation * self.gain, self.weight, self.bias)

    def forward(self, representation, target, weight):
        losses = sample_losses(self.outputs(representation), target, self.loss)
        return (losses * weight).mean() + 0.5 * self.alpha * self.weight.square().sum()


class CustomLoss(nn.Module):
    """A cost of the user's: ``cost(representation, target)``, a number or one for each sample.

    What it draws from torch's global generators is seeded by ``generator``.
    """

    def __init__(self, cost, generator=None):
        super().__init__()
        self.cost, self.generator = cost, generator

    def export(self):
        return {"cost": {name: value.cpu().numpy() for name, value in self.state_dict().items()}}

    def forward(self, representation, target, weight):
        with borrowed_generators(draw_seed(self.generator), representation.device):
            losses = self.cost(representation) if target is None else self.cost(representation, target)
        shape = getattr(losses, "shape", None)
        if shape == weight.shape:
            return (losses * weight).mean()
        if shape != ():
            got = type(losses).__name__ if shape is None else f"the shape {tuple(shape)}"
            raise ValueError(f"loss must give a number, or one for each of {len(weight)} bags, as a tensor; got {got}")
        if (weight != weight[0]).any():
            raise ValueError("loss gives one number for all bags, which weights cannot weigh: let it give one for each")
        return losses


def sample_losses(outputs, target, loss):
    """Loss (n,) of outputs (n, o) against class numbers (n,), or 0/1 or real targets (n, o)."""
    classes = target.ndim == 1
    if loss == "log_loss":
        if classes:
            return F.cross_entropy(outputs, target, reduction="none")
        return F.binary_cross_entropy_with_logits(outputs, target, reduction="none").sum(1)
    if loss in ("hinge", "squared_hinge"):
        signs = 2 * (F.one_hot(target, outputs.shape[1]).to(outputs) if classes else target) - 1
        margins = (1 - signs * outputs).clamp(min=0)
        return (margins.square() if loss == "squared_hinge" else margins).sum(1)
    return 0.5 * (outputs - target).square().sum(1)


def fit_cost(cost, representation, target, weight, *, max_iter, exact):
    """Minimise a cost over its own parameters W, the representation held still; full-batch L-BFGS.

    ``exact`` goes on until the gradient is lost in rounding. A start for further steps had better not: Adam divides
    by the size of the gradient, and would walk along the rounding.
    """
    parameters = [p for p in cost.parameters() if p.requires_grad]
    if not parameters or max_iter == 0:
        return cost
    exact = exact and representation.dtype == torch.float64  # float32 cannot tell smaller changes from rounding
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=max_iter,
        history_size=10,
        tolerance_grad=1e-12 if exact else 1e-9,
        tolerance_change=0 if exact else 1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        value = cost(representation, target, weight)
        value.backward()
        return value

    optimizer.step(closure)
    if exact and isinstance(cost, LinearCost):
        _newton_step(parameters, lambda: cost(representation, target, weight))
    return cost


def _newton_step(parameters, value, max_iter=100):
    """One Newton step by conjugate gradients, taken back where it does not bring the gradient down.

    A line search sees no gain smaller than the rounding of the cost, and so leaves the gradient half of its digits.
    """

    def gradient():
        return _flat(torch.autograd.grad(value(), parameters, create_graph=True))

    slope = gradient()
    rest = slope.detach().clone()
    step, direction, size = torch.zeros_like(rest), rest, rest @ rest
    enough = 1e-12 * size
    for _ in range(max_iter):
        bent = _flat(torch.autograd.grad(slope, parameters, direction, retain_graph=True, materialize_grads=True))
        curvature = direction @ bent
        if size <= enough or curvature <= 1e-9 * (direction @ direction):  # such as along all offsets together
            break
        length = size / curvature
        step, rest = step + length * direction, rest - length * bent
        before, size = size, rest @ rest
        direction = rest + size / before * direction
    _move(parameters, -step)
    if not gradient().norm() <= slope.norm():  # a cost with corners
        _move(parameters, step)


def _flat(parts):
    return torch.cat([part.flatten() for part in parts])


def _move(parameters, step):
    with torch.no_grad():
        for parameter, part in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
            parameter += part.view_as(parameter)
