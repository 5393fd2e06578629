"""Which components of a pooling are drawn, and what they pool most."""

from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline

from sklinvariant.base import to_numpy


def chosen_components(estimator, components):
    """Indices and rows of ``components_`` of an estimator, or of a Pipeline's last step."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    weights = np.asarray(to_numpy(last.components_))
    if isinstance(components, Integral):  # those that pool most
        order = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")
        components = order[: max(components, 0)]
    components = np.atleast_1d(np.asarray(components))
    if components.ndim != 1 or components.dtype.kind not in "iu" or not len(components):
        raise ValueError("components must be a number of components, or a list of some of them")
    if components.min() < 0 or components.max() >= len(weights):
        raise ValueError(f"components must lie in 0 to {len(weights) - 1}, got {components.tolist()}")
    return components, weights[components]


def strongest_maps(weights, n_maps):
    """Of feature maps, weights (n, p, k) at p places: the indices (n, <= k) of those pooled most, most first."""
    return np.argsort(-weights.sum(1), axis=1, kind="stable")[:, :n_maps]
