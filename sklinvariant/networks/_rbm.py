"""A restricted Boltzmann machine, its contrastive divergence, and the regulariser that makes its code a hash.

Morère et al. 2016, equations 5-8; Hinton 2002 for contrastive divergence.
"""

import torch
from torch import nn
from torch.nn.functional import logsigmoid, softplus


def uniform_targets(z):
    """Targets t of equation 7 for activations z (n, b): uniform in 0-1 for each code, nearly so for each bit.

    Each bit's activations are replaced by their ranks in the batch, then each code's by their ranks among its bits:
    half of a code's bits are on, exactly, and each bit is on for about half of the batch. Ranks keep the order of the
    activations, so targets push no further than they have to.
    """
    by_bit = _ranks(z, 0) + 1e-3 * z  # equal ranks of different bits are told apart by the activations
    return (_ranks(by_bit, 1) + 0.5) / z.shape[1]


def _ranks(z, dim):
    """0, 1, … along an axis, as floats."""
    if z.device.type == "cpu":  # numpy's argsort is vectorised: several times as fast as torch's
        order = torch.from_numpy(z.detach().movedim(dim, -1).contiguous().numpy().argsort(-1)).movedim(-1, dim)
    else:
        order = z.argsort(dim=dim)
    counted = torch.arange(z.shape[dim], dtype=z.dtype, device=z.device)
    counted = counted.unsqueeze(1 - dim).expand_as(z)
    return torch.empty_like(z).scatter_(dim, order, counted)


def batch_regularizer(z, targets):
    """h(B) of equation 7, minus the cross-entropy of activations and targets: summed over bits, mean over samples."""
    eps = torch.finfo(z.dtype).eps
    z = z.clamp(eps, 1 - eps)
    return (targets * z.log() + (1 - targets) * (1 - z).log()).sum(1).mean()


def free_energy(v, weight, hidden_bias, visible_bias, gaussian=False):
    """F(v) (n,), with P(v) ∝ exp(-F(v))."""
    hidden = softplus(torch.addmm(hidden_bias, v, weight.T)).sum(1)
    if gaussian:
        return (v - visible_bias).square().sum(1) / 2 - hidden
    return -(v @ visible_bias) - hidden


class RestrictedBoltzmannMachine(nn.Module):
    """Visible and hidden units without connections among themselves; called with a batch, it gives a loss to descend.

    The loss is the squared error of the reconstruction a value; its gradient is not that error's but that of the
    objective of equation 8, by contrastive divergence, with the batch's regulariser and what keeps plain RBMs sparse.

    Parameters are ``weight`` (b, d), ``hidden_bias`` (b,) and ``visible_bias`` (d,).
    """

    def __init__(
        self,
        weight,
        hidden_bias,
        visible_bias,
        *,
        visible="real",
        cd_steps=1,
        persistent=False,
        regularization=0.0,
        sparsity=None,
        sparsity_weight=0.1,
        weight_decay=0.0,
        generator=None,
    ):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.hidden_bias = nn.Parameter(hidden_bias)
        self.visible_bias = nn.Parameter(visible_bias)
        self.visible, self.cd_steps, self.persistent = visible, cd_steps, persistent
        self.regularization, self.sparsity, self.sparsity_weight = regularization, sparsity, sparsity_weight
        self.weight_decay, self.generator = weight_decay, generator
        self.chain = None

    def forward(self, v):
        return _ContrastiveDivergence.apply(self, v, *self.parameters())

    def hidden(self, v):
        """P(z = 1 | v), equation 5."""
        return torch.addmm(self.hidden_bias, v, self.weight.T).sigmoid_()

    def reconstruct(self, z):
        """P(v = 1 | z), equation 6; of Gaussian units the mean."""
        mean = torch.addmm(self.visible_bias, z, self.weight)
        return mean if self.visible == "gaussian" else mean.sigmoid_()

    def draw(self, probability):
        """Units that are on with a probability."""
        noise = torch.rand(
            probability.shape, dtype=probability.dtype, device=probability.device, generator=self.generator
        )
        return noise.lt_(probability)

    def gibbs(self, v, z=None):
        """One step: hidden units drawn, then visible ones; real-valued ones are their means."""
        z = self.draw(self.hidden(v)) if z is None else z
        v = self.reconstruct(z)
        if self.visible == "binary":
            v = self.draw(v)
        elif self.visible == "gaussian" and self.persistent:
            v += torch.randn(v.shape, dtype=v.dtype, device=v.device, generator=self.generator)
        return v

    def gradients(self, v):
        """Of equation 8 for weight, hidden and visible biases, and the reconstruction's mean squared error."""
        n = len(v)
        z = self.hidden(v)
        if self.persistent:
            chains = torch.zeros_like(z) if self.chain is None else self.chain
            if len(chains) < n:
                chains = torch.cat([chains, chains.new_zeros(n - len(chains), z.shape[1])])
            model = self.gibbs(v, chains[:n])
        else:
            model = self.gibbs(v, self.draw(z))
        for _ in range(self.cd_steps - 1):
            model = self.gibbs(model)
        z_model = self.hidden(model)
        if self.persistent:  # in a smaller batch, an epoch's last, the other chains wait
            self.chain = torch.cat([self.draw(z_model), chains[n:]])
        # what the data pulls towards: the activations, corrected by what the regularisers ask of them
        pull = z
        if self.regularization:
            pull = torch.lerp(z, uniform_targets(z), self.regularization)
        if self.sparsity is not None:
            pull = pull - self.sparsity_weight * (z.mean(0) - self.sparsity)
        weight = torch.addmm(z_model.T @ model, pull.T, v, alpha=-1).div_(n)
        if self.weight_decay:
            weight.add_(self.weight, alpha=self.weight_decay)
        difference = model - v
        visible = difference.mean(0)
        return (weight, (z_model - pull).mean(0), visible), difference.square_().mean()


class _ContrastiveDivergence(torch.autograd.Function):
    """Hands the gradients that were computed on the way to whichever optimiser asks; the loss is used as it is."""

    @staticmethod
    def forward(ctx, machine, v, *parameters):
        gradients, error = machine.gradients(v)
        ctx.save_for_backward(*gradients)
        return error

    @staticmethod
    def backward(ctx, slope):
        return None, None, *ctx.saved_tensors


def pseudo_log_likelihood(v, weight, hidden_bias, visible_bias):
    """Σ_i log P(v_i | the rest) (n,): each unit's is log σ(F(v with v_i flipped) - F(v)); v in 0-1 as probabilities."""
    total = v.new_zeros(len(v))
    activity = torch.addmm(hidden_bias, v, weight.T)  # (n, b)
    at_rest = softplus(activity).sum(1)
    for i in range(v.shape[1]):  # flipping one unit moves each activity by one weight
        change = 1 - 2 * v[:, i]
        flipped = softplus(torch.addcmul(activity, change[:, None], weight[:, i])).sum(1)
        total += logsigmoid(at_rest - flipped - change * visible_bias[i])
    return total


def start_weights(n_bits, n_features, generator, dtype):
    """Small normal numbers, as Hinton's guide has it."""
    return torch.randn(n_bits, n_features, generator=generator, dtype=dtype) * 0.01


def log_odds(mean):
    """Biases of visible units that are on with these probabilities, kept away from certainty."""
    mean = mean.clamp(0.01, 0.99)
    return (mean / (1 - mean)).log()
