"""A restricted Boltzmann machine, contrastive divergence, and the batch regulariser of RBM hashing.

Morère et al. 2016, equations 5-8; Hinton 2002 for contrastive divergence.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import logsigmoid, softplus

from sklinvariant._distributed import is_shared, own_rows, whole_mean, whole_rows, whole_size, whole_sum
from sklinvariant.ops import Draw, counts_draws, draw_states, draw_units


def uniform_targets(z: torch.Tensor) -> torch.Tensor:
    """Targets t of equation 7 for activations z (n, b): uniform in [0, 1] for each code, nearly uniform for each bit.

    The activations of each bit are replaced by their ranks in the batch, and then those of each code by their ranks
    among its bits. Exactly half of the bits of a code are then on, and each bit is on for about half of the batch.
    Ranks keep the order of the activations, so the targets change them as little as possible.
    """
    by_bit = _ranks(z, 0) + 1e-3 * z  # the activations break ties between bits
    return (_ranks(by_bit, 1) + 0.5) / z.shape[1]


def _ranks(z, dim):
    """Ranks 0, 1, … along an axis, as floats."""
    if z.device.type == "cpu":  # numpy's vectorised argsort is several times as fast as torch's
        order = torch.from_numpy(z.detach().movedim(dim, -1).contiguous().numpy().argsort(-1)).movedim(-1, dim)
    else:
        order = z.argsort(dim=dim)
    counted = torch.arange(z.shape[dim], dtype=z.dtype, device=z.device)
    counted = counted.unsqueeze(1 - dim).expand_as(z)
    return torch.empty_like(z).scatter_(dim, order, counted)


def free_energy(
    v: torch.Tensor, weight: torch.Tensor, hidden_bias: torch.Tensor, visible_bias: torch.Tensor, gaussian: bool = False
) -> torch.Tensor:
    """The free energy F(v) (n,), with P(v) ∝ exp(-F(v))."""
    hidden = softplus(torch.addmm(hidden_bias, v, weight.T)).sum(1)
    if gaussian:
        return (v - visible_bias).square().sum(1) / 2 - hidden
    return -(v @ visible_bias) - hidden


class RestrictedBoltzmannMachine(nn.Module):
    """A restricted Boltzmann machine: each call of `learn` takes one step on a batch.

    Steps follow contrastive divergence, with the batch regulariser (equation 8) and an optional sparsity penalty. This
    objective has no loss that autograd could differentiate, so the machine computes its own steps.

    On a CPU the states are drawn by ``generator``, one number after the other. On a GPU its seed and a counter identify
    each random number, so that the states are drawn where their probabilities are computed.

    Parameters are ``weight`` (b, d), ``hidden_bias`` (b,) and ``visible_bias`` (d,).
    """

    def __init__(
        self,
        weight: torch.Tensor,
        hidden_bias: torch.Tensor,
        visible_bias: torch.Tensor,
        *,
        visible: str = "real",
        cd_steps: int = 1,
        persistent: bool = False,
        regularization: float = 0.0,
        sparsity: float | None = None,
        sparsity_weight: float = 0.1,
        weight_decay: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.hidden_bias = nn.Parameter(hidden_bias.clone())
        self.visible_bias = nn.Parameter(visible_bias.clone())
        self.visible, self.cd_steps, self.persistent = visible, cd_steps, persistent
        self.regularization, self.sparsity, self.sparsity_weight = regularization, sparsity, sparsity_weight
        self.weight_decay, self.generator = weight_decay, generator
        self.chain: torch.Tensor | None = None
        self.velocity: list[torch.Tensor] | None = None
        self.draws = 0  # so far, on devices where a counter identifies the random numbers

    def get_extra_state(self) -> dict[str, Any]:
        """The state that a checkpoint needs besides the parameters, so that training is resumed bit for bit."""
        return {
            "chain": self.chain,
            "velocity": self.velocity,
            "draws": self.draws,
            "generator": None if self.generator is None else self.generator.get_state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        device = self.weight.device
        self.chain = None if state["chain"] is None else state["chain"].to(device)
        self.velocity = None if state["velocity"] is None else [value.to(device) for value in state["velocity"]]
        self.draws = state.get("draws", 0)
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())

    def hidden(self, v: torch.Tensor) -> torch.Tensor:
        """P(z = 1 | v), equation 5."""
        activity = torch.addmm(self.hidden_bias, v, self.weight.T)  # bfloat16 under autocast
        return activity.to(self.weight.dtype).sigmoid_()

    def reconstruct(self, z: torch.Tensor) -> torch.Tensor:
        """P(v = 1 | z), equation 6; the mean for Gaussian units."""
        mean = torch.addmm(self.visible_bias, z, self.weight).to(self.weight.dtype)
        return mean if self.visible == "gaussian" else mean.sigmoid_()

    def draw_hidden(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """P(z = 1 | v), and hidden units drawn with these probabilities."""
        if counts_draws(self.weight.device):
            return draw_units(v, self.weight, self.hidden_bias, self._next_draw())
        z = self.hidden(v)
        return z, self.draw(z)

    def draw_visible(self, z: torch.Tensor) -> torch.Tensor:
        """Visible units drawn with their probabilities P(v = 1 | z)."""
        if counts_draws(self.weight.device):
            return draw_units(z, self.weight.T, self.visible_bias, self._next_draw())[1]
        return self.draw(self.reconstruct(z))

    def draw(self, probability: torch.Tensor) -> torch.Tensor:
        """Sample binary units with the given probabilities of being on."""
        if counts_draws(probability.device):
            return draw_states(probability, self._next_draw())
        return self._noise(torch.rand, probability).lt_(probability)

    def _next_draw(self):
        """The random numbers of the next draw, which do not depend on the number of processes that share a batch."""
        seed = 0 if self.generator is None else self.generator.initial_seed()
        self.draws += 1
        return Draw(seed, self.draws, own_rows().start or 0)

    def _noise(self, draw, like):
        """Random numbers for rows (n, d), which do not depend on the number of processes that share a batch."""
        shape = whole_size(len(like)), *like.shape[1:]
        return draw(shape, dtype=like.dtype, device=like.device, generator=self.generator)[own_rows()]

    def gibbs(self, v: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        """One Gibbs step: sample the hidden units, then the visible ones; real-valued units are set to their means."""
        z = self.draw_hidden(v)[1] if z is None else z
        if self.visible == "binary":
            return self.draw_visible(z)
        v = self.reconstruct(z)
        if self.visible == "gaussian" and self.persistent:
            v += self._noise(torch.randn, v)
        return v

    @torch.no_grad()
    def learn(self, v: torch.Tensor, learning_rate: float, momentum: float = 0.0) -> torch.Tensor:
        """Take one step on equation 8 for a batch (n, d), and return the mean squared reconstruction error.

        Positive and negative phase are concatenated, so that the gradient of the weights is a single product, added in
        place.
        """
        n, z = whole_size(len(v)), None
        if self.persistent:
            b = len(self.hidden_bias)
            chains = v.new_zeros(n, b) if self.chain is None else self.chain
            if len(chains) < n:
                chains = torch.cat([chains, v.new_zeros(n - len(chains), b)])
            model = self.gibbs(v, chains[:n][own_rows()])
        else:
            z, drawn = self.draw_hidden(v)
            model = self.gibbs(v, drawn)
        for _ in range(self.cd_steps - 1):
            model = self.gibbs(model)
        visible = torch.cat([v, model])
        hidden = self.hidden(visible) if z is None else torch.cat([z, self.hidden(model)])
        z, z_model = hidden.split(len(v))
        if self.persistent:  # with a smaller batch, the remaining chains do not change
            self.chain = torch.cat([whole_rows(self.draw(z_model)), chains[n:]])
        # the positive phase: activations corrected by the regularisers
        if self.regularization:
            z.lerp_(uniform_targets(whole_rows(z))[own_rows()], self.regularization)
        if self.sparsity is not None:
            z -= self.sparsity_weight * (whole_mean(z.mean(0)) - self.sparsity)
        z.neg_()
        difference = model - v
        step = (hidden, visible), whole_sum(hidden.sum(0)), whole_sum(difference.sum(0))
        self._descend(step, n, learning_rate, momentum)
        return whole_mean(difference.square_().mean())

    def _descend(self, step, n, learning_rate, momentum):
        """A step of stochastic gradient descent as in torch; the gradient of the weights is given as two factors."""
        (hidden, visible), *sums = step
        if not momentum:
            decay = 1 - learning_rate * self.weight_decay
            _add_product(self.weight, hidden, visible, beta=decay, alpha=-learning_rate / n)
            for parameter, gradient in zip((self.hidden_bias, self.visible_bias), sums, strict=True):
                parameter.sub_(gradient, alpha=learning_rate / n)
            return
        if self.velocity is None:
            self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters()]
        weight, *biases = self.velocity
        _add_product(weight, hidden, visible, beta=momentum, alpha=1 / n)
        if self.weight_decay:
            weight.add_(self.weight, alpha=self.weight_decay)
        for velocity, gradient in zip(biases, sums, strict=True):
            velocity.mul_(momentum).add_(gradient, alpha=1 / n)
        for parameter, velocity in zip(self.parameters(), self.velocity, strict=True):
            parameter.sub_(velocity, alpha=learning_rate)


def _add_product(target, hidden, visible, *, beta, alpha):
    """``target = beta target + alpha Σ hiddenᵀ visible`` in place, with the sum over the rows of the whole batch."""
    if is_shared() or torch.is_autocast_enabled(target.device.type):  # autocast does not apply to addmm_
        target.mul_(beta).add_(whole_sum(hidden.T @ visible), alpha=alpha)
    else:
        target.addmm_(hidden.T, visible, beta=beta, alpha=alpha)


def pseudo_log_likelihood(
    v: torch.Tensor, weight: torch.Tensor, hidden_bias: torch.Tensor, visible_bias: torch.Tensor
) -> torch.Tensor:
    """Σ_i log P(v_i | other units) (n,), each log σ(F(v with v_i flipped) - F(v)); v may hold probabilities."""
    total = v.new_zeros(len(v))
    activity = torch.addmm(hidden_bias, v, weight.T)  # (n, b)
    at_rest = softplus(activity).sum(1)
    for i in range(v.shape[1]):  # flipping a unit changes each activity by one weight
        change = 1 - 2 * v[:, i]
        flipped = softplus(torch.addcmul(activity, change[:, None], weight[:, i])).sum(1)
        total += logsigmoid(at_rest - flipped - change * visible_bias[i])
    return total


def start_weights(n_bits: int, n_features: int, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
    """Small normal weights, as in Hinton's practical guide."""
    return torch.randn(n_bits, n_features, generator=generator, dtype=dtype) * 0.01


def log_odds(mean: torch.Tensor) -> torch.Tensor:
    """Biases of visible units with these probabilities of being on, clipped to [0.01, 0.99]."""
    mean = mean.clamp(0.01, 0.99)
    return (mean / (1 - mean)).log()
