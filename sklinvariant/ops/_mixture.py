"""Gaussian mixtures with diagonal covariances."""

from typing import NamedTuple

import numpy as np
import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._soft_moments import Scores

_LOG_TWO_PI = float(np.log(2 * np.pi))


class Mixture(NamedTuple):
    """A mixture of k Gaussians with diagonal covariances.

    Parameters
    ----------
    weights : tensor of shape (k,)
        Mixing weights, which sum to 1.
    means : tensor of shape (k, d)
        Means.
    variances : tensor of shape (k, d)
        Diagonals of the covariances.
    """

    weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor


@in_own_precision
def mixture_scores(mixture: Mixture, shift: torch.Tensor | None = None, scale: torch.Tensor | None = None) -> Scores:
    r"""Scores for `soft_moments` whose softmax is the posterior probabilities of the components of a mixture.

    For descriptors :math:`z = (x - \mathrm{shift}) / \mathrm{scale}` and components with weights w, means μ and
    variances σ², the scores are, up to a term that all components share,

    .. math:: s_k = \ln w_k + \ln \mathcal{N}(z; \mu_k, \operatorname{diag} \sigma_k^2)

    Parameters
    ----------
    mixture : Mixture
        The mixture of the descriptors z.
    shift : tensor of shape (d,) or None, default=None
        What is subtracted from the descriptors x. None is 0.
    scale : tensor of shape () or None, default=None
        What the shifted descriptors are divided by. None is 1.

    Returns
    -------
    Scores
    """
    weights, means, variances = mixture
    shift = torch.zeros_like(means[0]) if shift is None else shift
    scale = torch.ones_like(means[0, 0]) if scale is None else scale
    precision = 1 / variances
    weight = torch.cat([means * precision, -0.5 * precision], dim=1).T.contiguous()
    bias = weights.clamp(min=torch.finfo(weights.dtype).tiny).log() - 0.5 * (
        variances.log().sum(1) + (means * means * precision).sum(1) + means.shape[1] * _LOG_TWO_PI
    )
    return Scores(weight, bias, shift, scale)
