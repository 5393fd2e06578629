"""Mutual information of the cluster assignments of pairs (Ji, Henriques & Vedaldi 2019, equations 1-3).

Axes: n pairs, h heads, k clusters. A head's assignment of a sample is a row of k probabilities.
"""

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._chunks import compute_dtype


@in_own_precision
def joint_sum(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    r"""The sum of joint assignments of pairs, for each head.

    For the assignments Φ of pairs of samples x and x', this is

    .. math:: \sum_{i=1}^n \Phi(x_i)^T \Phi(x'_i)

    The results of disjoint sets of pairs can be added.

    Parameters
    ----------
    first, second : tensor of shape (n, h, k)
        Probabilities of the k clusters by h heads, of the first and of the second samples of n pairs.

    Returns
    -------
    float32 or float64 tensor of shape (h, k, k)
    """
    dtype = compute_dtype(first.dtype)
    with torch.autocast(first.device.type, enabled=False):
        return torch.einsum("nhi,nhj->hij", first.to(dtype), second.to(dtype))


@in_own_precision
def joint_information(joint: torch.Tensor, entropy_weight: float = 1.0) -> torch.Tensor:
    r"""Mutual information of joint distributions, which are first made symmetric and normalised.

    For a joint distribution P and the weight λ of the entropies (equations 2 and 3 of Ji et al. 2019), this is

    .. math:: I = \sum_{ij} P_{ij} \left(\ln P_{ij} - \lambda \ln P_i - \lambda \ln P_j\right)

    Parameters
    ----------
    joint : tensor of shape (..., k, k)
        Non-negative joint distributions, such as from `joint_sum`.
    entropy_weight : float, default=1.0
        Weight λ. A weight above 1 adds :math:`\lambda - 1` times the entropies of both marginals, which favours
        clusters of equal size.

    Returns
    -------
    tensor of shape (...)
        In nats. A joint whose sum is 0 (a displacement that is valid for no pixel) gives 0.

    Examples
    --------
    >>> import torch
    >>> from sklinvariant.ops import joint_information
    >>> f"{joint_information(torch.eye(4)).item():.4f}"  # the largest value for 4 clusters is the logarithm of 4
    '1.3863'
    """
    joint = joint.to(torch.promote_types(joint.dtype, torch.float32))
    joint = (joint + joint.mT) / 2
    tiny = torch.finfo(joint.dtype).tiny
    joint = (joint / joint.sum((-2, -1), keepdim=True).clamp_min(tiny)).clamp_min(torch.finfo(joint.dtype).eps ** 2)
    marginal = joint.sum(-1)
    own = marginal.log()
    return (joint * (joint.log() - entropy_weight * (own[..., :, None] + own[..., None, :]))).sum((-2, -1))
