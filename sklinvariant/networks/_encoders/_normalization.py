"""Normalisation of vectors of residuals."""

import torch
from torch.nn import functional as F

_SMALL = 1e-6  # below this value power normalisation is linear, so that its gradient is finite


def power_normalize(x: torch.Tensor) -> torch.Tensor:
    """sign(x) √|x|, linear below 1e-6 so that the gradient is finite."""
    return x * x.abs().clamp_(min=_SMALL).rsqrt_()


def normalize_vlad(residuals: torch.Tensor, normalization: str | None, scale: float | torch.Tensor) -> torch.Tensor:
    """Flatten and normalise residuals (n, k, d) in standardised units.

    Parameters
    ----------
    residuals : tensor of shape (n, k, d)
        Mean residuals of each bag and codeword.
    normalization : {"l2", "power", "intra"} or None
        What is normalised, as in `SoftVLAD`. None returns the residuals in the units of the data.
    scale : float or tensor
        The spread of the data.

    Returns
    -------
    tensor of shape (n, k d)
    """
    if normalization is None:
        return (residuals * scale).flatten(1)
    # the difference of two equal numbers may be a rounding error, which normalisation would turn into a direction
    noise = 32 * torch.finfo(residuals.dtype).eps
    residuals = torch.where(residuals.abs() > noise, residuals, torch.zeros_like(residuals))
    if normalization == "intra":
        residuals = F.normalize(residuals, dim=2)
    flat = residuals.flatten(1)
    if normalization == "power":
        flat = power_normalize(flat)
    return F.normalize(flat, dim=1)
