"""Features of samples, averaged over views of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from sklinvariant.cluster._evaluation import at_once
from sklinvariant.cluster._few_labels._class_network import ClassNetwork
from sklinvariant.images import scale_pixels
from sklinvariant.ops import concatenated, in_smaller_chunks
from sklinvariant.pairs import changed
from sklinvariant.transforms import Transform


def fixed_views(samples: torch.Tensor, views: Any, n_views: int, seed: int) -> Iterator[torch.Tensor]:
    """The samples and ``n_views - 1`` views of them. Each view is one transformation, the same for all samples."""
    yield samples
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_views - 1):
        if isinstance(views, Transform):
            params = views.sample(1, generator)
            yield changed(samples, lambda x, _, params=params: views.apply(x, params), generator)  # type: ignore[misc]
        else:
            state = generator.get_state()
            seen = []
            for sample in samples.split(1):
                generator.set_state(state)
                seen.append(changed(sample, views, generator))
            yield torch.cat(seen)


@torch.no_grad()
def mean_features(network: ClassNetwork, samples: torch.Tensor, views: Any, n_views: int, seed: int) -> torch.Tensor:
    """(n, D) features of the samples, averaged over `fixed_views`."""

    def mean(part):
        total: Any = 0
        for seen in fixed_views(scale_pixels(part), views, n_views, seed):
            total = total + network.features(seen)
        return total / n_views

    return in_smaller_chunks(lambda: concatenated(map(mean, samples.split(at_once(samples))), len(samples)))
