"""The linear model is fitted to machine precision."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sklinvariant.networks import LinearLoss, minimize_loss


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge", "hinge"])
def test_an_exact_fit_leaves_no_gradient(loss):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (200,), generator=generator)
    weight = torch.ones(200, dtype=torch.float64)
    rough, exact = (
        minimize_loss(LinearLoss(5, 3, loss, 0.01, x.dtype), x, target, weight, max_iter=200, exact=exact)
        for exact in (False, True)
    )
    gradients = torch.autograd.grad(exact(x, target, weight), exact.parameters())
    if loss != "hinge":  # its lowest point is a corner
        assert max(float(part.abs().max()) for part in gradients) < 1e-12
    assert exact(x, target, weight) <= rough(x, target, weight) + 1e-6
    if loss == "log_loss":
        peer = LogisticRegression(C=1 / (200 * 0.01), tol=1e-10, max_iter=1000).fit(x.numpy(), target.numpy())
        torch.testing.assert_close(exact.weight.detach(), torch.as_tensor(peer.coef_), rtol=0, atol=1e-6)
