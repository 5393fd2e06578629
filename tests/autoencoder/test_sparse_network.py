"""The loss of the sparse autoencoder against numpy, and its gradient."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from sklinvariant.autoencoder._sparse_network import SparseAutoencoderNetwork, kl_sparsity


def _numpy_loss(x, W, b, c, V, sigmoid, rho, beta, weight_decay, spread):
    """The loss of Ng's notes, computed unit by unit."""
    h = expit(x / spread @ W.T + b)
    rebuilt = h @ V + c
    rebuilt = expit(rebuilt) if sigmoid else spread * rebuilt
    loss = sum(0.5 * np.sum((r - row) ** 2) / spread**2 for r, row in zip(rebuilt, x, strict=True)) / len(x)
    loss += weight_decay / 2 * (np.sum(W**2) + np.sum(V**2))
    for mean in h.mean(0):
        loss += beta * (rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean)))
    return loss


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradient(sigmoid, tied, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    W, b, c, V, x = (rng.normal(size=size) for size in ((3, 5), 3, 5, (3, 5), (7, 5)))
    weights = [torch.tensor(a) for a in ((W, b, c) if tied else (W, b, c, V))]
    penalties = {"sparsity": 0.1, "sparsity_weight": 2.0, "weight_decay": 0.3, "spread": 1.7}
    network = SparseAutoencoderNetwork(*weights, sigmoid_decoder=sigmoid, **penalties)
    expected = _numpy_loss(x, W, b, c, W if tied else V, sigmoid, 0.1, 2.0, 0.3, 1.7)
    assert network(torch.tensor(x)).item() == pytest.approx(expected)

    def loss(*weights):
        names = dict(zip(("weight", "hidden_bias", "visible_bias", "decoder_weight"), weights, strict=False))
        if tied:
            names["decoder_weight"] = names["weight"]
        return torch.func.functional_call(network, names, (torch.tensor(x),), tie_weights=False)

    assert torch.autograd.gradcheck(loss, [w.requires_grad_() for w in weights])


def test_sparsity_penalty():
    assert kl_sparsity(torch.full((4,), 0.1), 0.1).item() == pytest.approx(0, abs=1e-6)
    ends = kl_sparsity(torch.tensor([0.0, 1.0]), 0.1)
    assert torch.isfinite(ends)
    assert ends > 5
