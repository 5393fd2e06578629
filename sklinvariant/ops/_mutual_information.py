"""Mutual information of the cluster assignments of pairs (Ji, Henriques & Vedaldi 2019, equations 1-3).

Axes: n pairs, h heads, k clusters. A head's assignment of a sample is a row of k probabilities.
"""

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._chunks import compute_dtype


@in_own_precision
def joint_sum(first, second):
    """Σ_i Φ(x_i) Φ(x'_i)ᵀ by head: (n, h, k) twice -> (h, k, k); sums of parts of the pairs add up.

    Half precision is widened to float32 before anything is summed.
    """
    dtype = compute_dtype(first.dtype)
    with torch.autocast(first.device.type, enabled=False):
        return torch.einsum("nhi,nhj->hij", first.to(dtype), second.to(dtype))


@in_own_precision
def joint_information(joint, entropy_weight=1.0):
    """I = Σ P ln P - λ Σ P (ln P_i + ln P_j) of joints (..., k, k) in nats, each made symmetric and of sum 1 (eq. 2-3).

    A weight λ above 1 adds (λ - 1) of the entropies of both marginals, which prefers clusters of equal size. What has
    sum 0 (a displacement that no pixel allows) gives 0.
    """
    joint = joint.to(torch.promote_types(joint.dtype, torch.float32))
    joint = (joint + joint.mT) / 2
    tiny = torch.finfo(joint.dtype).tiny
    joint = (joint / joint.sum((-2, -1), keepdim=True).clamp_min(tiny)).clamp_min(torch.finfo(joint.dtype).eps ** 2)
    marginal = joint.sum(-1)
    own = marginal.log()
    return (joint * (joint.log() - entropy_weight * (own[..., :, None] + own[..., None, :]))).sum((-2, -1))
