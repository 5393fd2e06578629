"""Stages of nested pooling, and the moments of features over the groups of these stages (equation 4)."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch

from sklinvariant.ops import Moment, moment, unit_length
from sklinvariant.pooling._nested._regions import region_grid

Stage = tuple[str, tuple[float, ...], bool]  # group, orders of its moments, whether the result is normalized
ON_MAPS = ("translation", "region")  # groups that are pooled on the feature map


def parse_stages(stages: Sequence[Any], known: Collection[str] | None = None) -> list[Stage]:
    """Parse stages into a list of (group, orders, normalized); ``known`` are the accepted names of groups."""
    parsed = []
    for stage in stages:
        try:
            group, orders, *rest = stage
            orders = tuple(float(n) for n in np.atleast_1d(orders))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'stages contains {stage!r}, but (group, order) or (group, order, "l2") is required. Change this stage.'
            ) from error
        if not isinstance(group, str) or rest not in ([], ["l2"]) or not orders or not all(n >= 1 for n in orders):
            raise ValueError(
                f'stages contains {stage!r}, but (group, order) or (group, order, "l2") with orders of at least 1 is '
                "required. Change this stage."
            )
        if known is not None and group not in known:
            raise ValueError(
                f"stages contains the group {group!r}, but only {sorted(known)} are known. Add the group to transforms."
            )
        parsed.append((group, orders, bool(rest)))
    groups = [group for group, _, _ in parsed]
    if len(set(groups)) < len(groups):
        raise ValueError(f"stages has groups {groups}, but each group may occur only once. Remove the repeated stage.")
    if known is not None and "region" in groups and "translation" not in groups[: groups.index("region")]:
        raise ValueError(
            f'stages has groups {groups}, but "region" requires "translation" before it, which pools the cells of each '
            "region. Insert such a stage."
        )
    return parsed


def nested_moments(
    stages: Sequence[Stage],
    next_map: Callable[[], torch.Tensor],
    sizes: dict[str, int],
    region_levels: int | None = None,
    printed: bool = False,
) -> torch.Tensor:
    """Equation 4 for a batch: the moments of each stage's group over the output of the previous stage.

    ``stages`` are (group, orders, normalized), the innermost first. ``next_map()`` returns the feature maps
    (n, h, w, d) of the next view; the elements of the outermost group vary slowest. ``sizes`` are the numbers of views
    of the groups; ``region_levels`` are those of `region_grid`, if a stage pools regions.
    """
    if not stages:
        return next_map()
    *inside, (group, orders, normalized) = stages

    def below():
        return nested_moments(inside, next_map, sizes, region_levels, printed)

    if group == "translation":
        maps = below()
        parts = [maps]
        if region_levels is not None:
            boxes = region_grid(maps.shape[1], maps.shape[2], region_levels)
            parts = [maps[:, top:bottom, left:right] for top, bottom, left, right in boxes]
        pooled = [torch.cat([moment(x.flatten(1, 2), n, 1, printed) for n in orders], dim=-1) for x in parts]
        result = pooled[0] if region_levels is None else torch.stack(pooled, dim=1)  # (n, d) or (n, r, d)
    elif group == "region":
        regions = below()
        result = torch.cat([moment(regions, n, 1, printed) for n in orders], dim=-1)
    else:
        moments = [Moment(n, printed) for n in orders]
        for _ in range(sizes[group]):
            x = below()
            for one in moments:
                one.add(x)
        result = torch.cat([one.result() for one in moments], dim=-1)
    return unit_length(result) if normalized else result


def orbit_moments(stages: Sequence[Stage], orbits: torch.Tensor, printed: bool = False) -> torch.Tensor:
    """`nested_moments` of precomputed activations (n, m_1, …, m_g, d), with the axis of the innermost group first."""
    for _, orders, normalized in stages:
        orbits = torch.cat([moment(orbits, n, 1, printed) for n in orders], dim=-1)
        orbits = unit_length(orbits) if normalized else orbits
    return orbits
