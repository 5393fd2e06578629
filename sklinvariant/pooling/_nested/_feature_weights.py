"""Weights of features that differ between images but not between the views of an image, learned without labels."""

from collections.abc import Iterable, Sequence

import torch

from sklinvariant.accumulate import accumulate
from sklinvariant.ops import float64_device
from sklinvariant.pooling._nested._nested_moments import ON_MAPS, Stage


def spread_stages(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with the mean and the root mean square over views, instead of the moments of these stages."""
    return [stage if stage[0] in ON_MAPS else (stage[0], (1.0, 2.0), False) for stage in stages]


def feature_weights(parts: Iterable[torch.Tensor], stages: Sequence[Stage]) -> torch.Tensor:
    """The weights (n_features,), from 0 to 1, of the features pooled with ``stages``.

    The variance of a feature over all views of all images is the variance of the mean over the views of an image, plus
    the mean of the variance over these views. The weight is the share of the former.

    ``parts`` are batches of images (n, ..., features) that were pooled with `spread_stages`.
    """
    names = [group for group, *_ in stages]
    if sorted(names, key=lambda group: group not in ON_MAPS) != names:
        raise ValueError(
            'feature_weights="invariance" requires the stages "translation" and "region" before all others, but the '
            f'groups of stages are {names}. Reorder the stages, or set feature_weights="equal"'
        )
    n, total, square, within, rounding = accumulate(_sums, parts, stages)
    if n < 2:
        raise ValueError(
            f'feature_weights="invariance" requires at least 2 images that can be read, but got {n}. Pass more images, '
            'or set feature_weights="equal"'
        )
    between = (square / n - (total / n).square()).clamp_min(0)
    differs = between > rounding / n
    if not differs.any():
        raise ValueError(
            'feature_weights="invariance" requires images whose features differ, but those of all images are equal. '
            'Pass other images, or set feature_weights="equal"'
        )
    weights = torch.where(differs, between / (between + within.clamp_min(0) / n), 0)
    lead = weights.shape[: -len(stages) - 1]
    return weights.expand(*lead, *(len(orders) for _, orders, _ in reversed(stages)), -1).flatten()


def _sums(part, stages):
    """The number of images, and sums over them: mean over views, its square, variance of views, and rounding errors.

    The shape of the sums is (..., orders of the outermost stage, ..., orders of the innermost stage, d), with one order
    for each group of views.
    """
    outermost_first = spread_stages(stages)[::-1]
    moments = part.to(float64_device(part.device), torch.float64)
    moments = moments.unflatten(-1, (*(len(orders) for _, orders, _ in outermost_first), -1))
    mean, root = (
        moments[..., *(slice(None) if group in ON_MAPS else slice(i, i + 1) for group, _, _ in outermost_first), :]
        for i in range(2)
    )
    square = mean.square()
    rounding = 8 * torch.finfo(part.dtype).eps * square  # at most, of the variances
    return len(part), mean.sum(0), square.sum(0), (root.square() - square).sum(0), rounding.sum(0)
