"""The loss J(R(F; Θ), y; W) that an encoder and a linear model minimise jointly (eq. 4 and 10)."""

from collections.abc import Callable
from typing import Any, Literal, Self, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from sklinvariant._distributed import whole_mean, whole_rows
from sklinvariant._docstrings import documented_by
from sklinvariant._settings import borrowed_generators, draw_seed
from sklinvariant.networks._chi2 import chi2_map
from sklinvariant.networks._encoders._bags import Bags

FeatureMap = Literal["chi2"] | Callable[[torch.Tensor], torch.Tensor] | None
Loss = TypeVar("Loss", bound=nn.Module)


class Objective(nn.Module):
    """Mean weighted loss of a batch of bags: an encoder, a feature map and a loss.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps `Bags` of n bags to representations (n, f), for example `SoftBagOfWords` or `MeanEncoder`.
    feature_map : {"chi2"}, callable or None
        Differentiable map between the representation and the loss. "chi2" is the map of
        `sklearn.kernel_approximation.AdditiveChi2Sampler`.
    loss : LinearLoss or CustomLoss
        Maps mapped representations, targets and weights to a number.
    """

    def __init__(self, encoder: nn.Module, feature_map: FeatureMap, loss: nn.Module) -> None:
        super().__init__()
        self.encoder, self.feature_map, self.loss = encoder, feature_map, loss

    def get_extra_state(self) -> dict:
        """The state that a checkpoint needs besides the parameters.

        Returns
        -------
        dict of "generator", the state of the generator of the encoder or None
        """
        generator = getattr(self.encoder, "generator", None)
        return {"generator": None if generator is None else generator.get_state()}

    def set_extra_state(self, state: dict) -> None:
        """Restore the state that a checkpoint has besides the parameters.

        Parameters
        ----------
        state : dict
            The result of `get_extra_state`.
        """
        if state["generator"] is not None:
            generator: Any = self.encoder.generator
            generator.set_state(state["generator"].cpu())

    def represent(self, bags: Bags) -> torch.Tensor:
        """The mapped representations of bags.

        Parameters
        ----------
        bags : Bags
            n bags, as the encoder expects them.

        Returns
        -------
        tensor of shape (n, f)
        """
        return map_features(self.encoder(bags), self.feature_map)

    def forward(self, batch: Any) -> torch.Tensor:
        """The loss of a batch.

        Parameters
        ----------
        batch : sklinvariant.training.Batch
            Bags, targets and sample weights.

        Returns
        -------
        tensor of shape ()
        """
        return self.loss(self.represent(batch.bags), batch.target, batch.weight)

    @documented_by(forward)
    def evaluate(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The loss of a batch, and the outputs of a linear model.

        Returns
        -------
        loss : tensor of shape ()
            Mean loss, with the penalty of the linear model.
        outputs : tensor of shape (n, n_outputs) or None
            Outputs of `LinearLoss`. None for other losses.
        """
        representation = self.represent(batch.bags)
        outputs = self.loss.outputs(representation) if isinstance(self.loss, LinearLoss) else None
        return self.loss(representation, batch.target, batch.weight), outputs


def map_features(representation: torch.Tensor, feature_map: FeatureMap) -> torch.Tensor:
    """Apply a feature map to representations.

    Parameters
    ----------
    representation : tensor of shape (n, f)
        Representations of n bags.
    feature_map : {"chi2"}, callable or None
        The map. None returns the representations.

    Returns
    -------
    tensor of shape (n, n_features)
    """
    if feature_map == "chi2":
        return chi2_map(representation)
    if feature_map is None:
        return representation
    with borrowed_generators(0, representation.device):
        return feature_map(representation)


_MODEL = """
n_outputs : int
    Number of outputs o of the linear model.
loss : {"log_loss", "hinge", "squared_hinge", "squared_error"}
    The loss. The first three take class numbers (n,) or 0/1 labels (n, o), the last one real targets (n, o).
weight_decay : float
    The L2 penalty α.
dtype : torch.dtype
    Precision of weights and biases.
target_scale : float
    Standard deviation of the targets of a regression, by which they are divided.
"""


@documented_by(_MODEL)
class LinearLoss(nn.Module):
    r"""Loss of a linear model with an L2 penalty.

    For representations r, targets y, sample weights s and a loss L, the module with weights W and biases b
    minimises

    .. math:: \frac{1}{n} \sum_{i=1}^n s_i\, L(W r_i + b, y_i) + \frac{\alpha}{2} \lVert W \rVert^2

    Parameters
    ----------
    n_features : int
        Number of features f of the representation.
    gain : float, default=1.0
        Factor of the representation. `start` sets it so that the mean norm is 1, and ``weight_decay`` and the learning
        rate do not depend on the scale of the representation.
    """

    gain: torch.Tensor
    target_scale: torch.Tensor

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        loss: str,
        weight_decay: float,
        dtype: torch.dtype,
        gain: float = 1.0,
        target_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_outputs, n_features, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(n_outputs, dtype=dtype))
        self.register_buffer("gain", torch.as_tensor(gain, dtype=dtype))
        self.register_buffer("target_scale", torch.as_tensor(target_scale, dtype=dtype))
        self.loss, self.weight_decay = loss, weight_decay

    @classmethod
    @documented_by(_MODEL)
    def start(
        cls,
        representation: torch.Tensor,
        weight: torch.Tensor,
        n_outputs: int,
        loss: str,
        weight_decay: float,
        target_scale: float = 1.0,
    ) -> Self:
        """The module with zero weights, and with the gain of a sample of representations.

        Parameters
        ----------
        representation : tensor of shape (n, f)
            The sample, which also has the dtype of the module.
        weight : tensor of shape (n,)
            Weight of each row of the sample.

        Returns
        -------
        LinearLoss
        """
        weight = weight.double()
        norm = float((weight @ representation.double().square().sum(1) / weight.sum().clamp(min=1e-300)).sqrt())
        gain, dtype = 1 / norm if norm > 0 else 1.0, representation.dtype
        return cls(representation.shape[1], n_outputs, loss, weight_decay, dtype, gain, target_scale)

    @classmethod
    @documented_by(_MODEL)
    def restore(cls, state: dict[str, Any], loss: str, weight_decay: float, dtype: torch.dtype) -> Self:
        """The module from the state that `export` returned.

        Parameters
        ----------
        state : dict
            The state.

        Returns
        -------
        LinearLoss
        """
        scale = state.get("target_scale", 1.0)  # models saved by earlier versions have none
        n_outputs, n_features = state["coef"].shape
        linear = cls(n_features, n_outputs, loss, weight_decay, dtype, state["gain"], scale)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(state["coef"]) / (state["gain"] * scale))
            linear.bias.copy_(torch.tensor(state["intercept"]) / scale)
        return linear

    def export(self) -> dict[str, Any]:
        """The linear model in the units of the representations and targets.

        Returns
        -------
        dict of arrays "coef" (o, f) and "intercept" (o,), number "gain" and, for regressions, number "target_scale"
        """
        state: dict[str, Any] = {
            "coef": (self.weight * (self.gain * self.target_scale)).detach().cpu().numpy(),
            "intercept": (self.bias * self.target_scale).detach().cpu().numpy(),
            "gain": float(self.gain),
        }
        return state | ({"target_scale": float(self.target_scale)} if self.loss == "squared_error" else {})

    @documented_by(map_features)
    def outputs(self, representation: torch.Tensor) -> torch.Tensor:
        """The outputs of the linear model, in the units of the targets.

        Returns
        -------
        tensor of shape (n, o)
        """
        return self._scaled_outputs(representation) * self.target_scale

    def _scaled_outputs(self, representation):
        return F.linear(representation * self.gain, self.weight, self.bias)

    @documented_by(outputs)
    def forward(self, representation: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The mean loss, with the penalty.

        Parameters
        ----------
        target : tensor of shape (n,) or (n, o)
            Class numbers, 0/1 labels or real targets.
        weight : tensor of shape (n,)
            Weight of each sample.

        Returns
        -------
        tensor of shape ()
        """
        target = target / self.target_scale if self.loss == "squared_error" else target
        losses = sample_losses(self._scaled_outputs(representation), target, self.loss)
        return whole_mean((losses * weight).mean()) + 0.5 * self.weight_decay * self.weight.square().sum()


@documented_by(LinearLoss.forward)
def target_deviation(target: torch.Tensor, weight: torch.Tensor) -> float:
    """Root mean square deviation of targets from their weighted mean; 1 if they are constant.

    Parameters
    ----------
    target : tensor of shape (n, o)
        Real targets.

    Returns
    -------
    float
    """
    target, weight = target.double(), weight.double() / weight.double().sum()
    largest = float(target.abs().max()) or 1.0  # so that squares do not overflow
    target = target / largest
    deviation = float((weight @ (target - weight @ target).square().mean(1)).sqrt())
    return deviation * largest if deviation > 1e-12 else 1.0


class CustomLoss(nn.Module):
    """A user-defined loss of representations and targets.

    Parameters
    ----------
    loss : callable or torch.nn.Module
        Called as ``loss(representation, target)``, or as ``loss(representation)`` if there is no target. It returns one
        number, or one for each sample, which sample weights require.
    generator : torch.Generator or None, default=None
        Seeds torch's global generators for the random numbers that the loss draws. None seeds them with 0.
    """

    def __init__(self, loss: Callable[..., torch.Tensor], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.cost, self.generator = loss, generator  # "cost" is the name in saved models

    def export(self) -> dict[str, Any]:
        """The parameters and buffers of the loss.

        Returns
        -------
        dict of "cost", a dict of arrays by name
        """
        return {"cost": {name: value.cpu().numpy() for name, value in self.state_dict().items()}}

    @documented_by(LinearLoss.forward)
    def forward(self, representation: torch.Tensor, target: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
        """The loss of representations.

        Parameters
        ----------
        target : tensor or None
            Targets, as the loss takes them. None calls it without targets.
        weight : tensor of shape (n,)
            Weight of each sample, by which its loss is multiplied. They must be equal if the loss returns one number.

        Returns
        -------
        tensor of shape (), the mean loss

        Raises
        ------
        ValueError
            If the result of the loss has another shape, cannot be differentiated, or is one number for unequal weights.
        """
        # the loss may compare samples with each other, so each process computes it for the whole batch
        representation, weight = whole_rows(representation), whole_rows(weight)
        target = None if target is None else whole_rows(target)
        with borrowed_generators(draw_seed(self.generator), representation.device):
            losses = self.cost(representation) if target is None else self.cost(representation, target)
        shape = getattr(losses, "shape", None)
        if shape is not None and torch.is_grad_enabled() and not losses.requires_grad:
            raise ValueError(
                "loss is not differentiable in the representations. Compute it by functions of torch, without numpy, "
                "detach, item or no_grad"
            )
        if shape == weight.shape:
            return (losses * weight).mean()
        if shape != ():
            got = type(losses).__name__ if shape is None else f"the shape {tuple(shape)}"
            raise ValueError(
                f"loss returned {got}, but must return a tensor with one number, or one for each of "
                f"{len(weight)} bags. Change the loss accordingly"
            )
        if (weight != weight[0]).any():
            raise ValueError(
                "loss returned one number for all bags, but sample weights need one for each bag. Let the loss return "
                "a tensor of shape (n_bags,)"
            )
        return losses


def sample_losses(outputs: torch.Tensor, target: torch.Tensor, loss: str) -> torch.Tensor:
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


@documented_by(LinearLoss.forward)
def minimize_loss(
    loss: Loss,
    representation: torch.Tensor,
    target: torch.Tensor | None,
    weight: torch.Tensor,
    *,
    max_iter: int,
    exact: bool,
) -> Loss:
    """Minimise a loss over its own parameters W for a fixed representation, by full-batch L-BFGS.

    Parameters
    ----------
    loss : LinearLoss or CustomLoss
        The loss, whose parameters are changed.
    target : tensor or None
        Targets, as the loss takes them.
    max_iter : int
        Maximum number of iterations.
    exact : bool
        Whether to continue until the gradient is dominated by rounding errors. Do not use this to initialise further
        training: Adam divides by the magnitude of the gradient and would follow the rounding errors.

    Returns
    -------
    torch.nn.Module
        The loss.
    """
    parameters = [p for p in loss.parameters() if p.requires_grad]
    if not parameters or max_iter == 0:
        return loss
    exact = exact and representation.dtype == torch.float64  # in float32 smaller changes are rounding errors
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
        value = loss(representation, target, weight)
        value.backward()
        return value

    optimizer.step(closure)
    if exact and isinstance(loss, LinearLoss):
        _newton_step(parameters, lambda: loss(representation, target, weight))
    return loss


def _newton_step(parameters, value, max_iter=100):
    """One Newton step by conjugate gradients, undone if it does not reduce the gradient.

    A line search cannot see improvements below the rounding error of the loss, so only half of the digits of the
    gradient are correct after it.
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
        if size <= enough or curvature <= 1e-9 * (direction @ direction):  # for example, for a common shift
            break
        length = size / curvature
        step, rest = step + length * direction, rest - length * bent
        before, size = size, rest @ rest
        direction = rest + size / before * direction
    _move(parameters, -step)
    if not gradient().norm() <= slope.norm():  # the loss is not smooth
        _move(parameters, step)


def _flat(parts):
    return torch.cat([part.flatten() for part in parts])


def _move(parameters, step):
    with torch.no_grad():
        for parameter, part in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
            parameter += part.view_as(parameter)
