"""Where the pairs come from on which `IICClusterer` is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklinvariant.base import as_tensor, to_numpy
from sklinvariant.images import scale_pixels
from sklinvariant.pairs import (
    MOST_STEPS,
    GraphPairs,
    PartnerPairs,
    ViewPairs,
    WithNeighbors,
    default_views,
    explicit_pairs,
    nearest_partners,
    same,
    temporal_pairs,
)


class WithPairs(WithNeighbors):
    """Mixin of `IICClusterer`, which has the parameter ``pairs``: the pairs of given samples."""

    pairs: Any
    transforms: Any
    n_clusters: int
    n_neighbors: int
    n_overclusters: int | None

    def _kind_of_pairs(self, samples):
        return ("transform" if samples.ndim == 4 else "neighbors") if self.pairs == "auto" else self.pairs

    def _source(self, samples, scaling, generator, *, groups, auxiliary=None, graph=None):
        kind, views = self._kind_of_pairs(samples), self.transforms or same
        found = self._given_graph(samples, kind, graph)
        if kind == "explicit":
            return explicit_pairs(samples, views, generator)
        if kind == "temporal":
            return temporal_pairs(samples, groups, views, generator)
        if found is not None:
            found = found if auxiliary is None else found.without(auxiliary)
            source: Any = GraphPairs(samples, found, generator, most_steps=MOST_STEPS, views=views)
            if len(source) < self.n_clusters:
                raise ValueError(
                    f"graph gives neighbours to {len(source)} samples, but n_clusters={self.n_clusters}. Pass a graph "
                    "with more neighbours, or lower n_clusters"
                )
            return source
        if kind == "neighbors":
            rows = scaling(scale_pixels(samples))
            partners = nearest_partners(rows, self.n_neighbors, auxiliary, n_clusters=self.n_clusters)
            return PartnerPairs(samples, partners, generator, most_steps=MOST_STEPS, views=views)
        if callable(kind):
            views = kind
        elif self.transforms is None:
            if samples.ndim == 2:
                raise ValueError(
                    'pairs="transform" requires images, but X contains rows. Set image_shape, or use pairs="neighbors"'
                )
            views = default_views(samples.shape[-1])
        return ViewPairs(samples, views, generator)

    def _auxiliary(self, auxiliary, n, device):
        """A boolean mask of the samples, or None if it is not given."""
        if auxiliary is None:
            return None
        auxiliary = np.asarray(to_numpy(auxiliary))
        if auxiliary.shape != (n,) or auxiliary.dtype != bool:
            raise ValueError(
                f"auxiliary must hold one True or False for each of {n} samples, got an array of {auxiliary.dtype} of "
                f"shape {auxiliary.shape}"
            )
        if self.n_overclusters is None and auxiliary.any():
            raise ValueError(
                "auxiliary samples train only the auxiliary heads, but n_overclusters is None. Set n_overclusters"
            )
        each = 2 if self.pairs == "explicit" else 1
        return as_tensor(auxiliary).to(device).repeat_interleave(each)


def views_of(clusterer: WithPairs, n_axes: int, n_channels: int) -> Any:
    """The views with which an `IICClusterer` makes pairs from samples."""
    if callable(clusterer.pairs):
        return clusterer.pairs
    if clusterer.transforms is not None:
        return clusterer.transforms
    return default_views(n_channels) if n_axes == 4 else same
