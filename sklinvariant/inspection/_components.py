"""Selection of the components to draw, and of the feature maps with the largest weights."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sklinvariant.base import to_numpy


def chosen_components(estimator: Any, components: Any) -> tuple[np.ndarray, np.ndarray]:
    """Indices and rows of ``components_`` of an estimator, or of the last step of a Pipeline."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    weights = np.asarray(to_numpy(last.components_))
    if isinstance(components, Integral):  # those with the largest norms
        order = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")
        chosen = order[: max(components, 0)]
    else:
        chosen = np.atleast_1d(np.asarray(components))
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
        raise ValueError(
            f"components={components!r} selects no components. Pass how many to draw, or a list of their indices."
        )
    if chosen.min() < 0 or chosen.max() >= len(weights):
        raise ValueError(
            f"components contains {chosen.tolist()}, but indices must lie in 0 to {len(weights) - 1}. Pass indices in "
            "this range."
        )
    return chosen, weights[chosen]


def strongest_maps(weights: np.ndarray, n_maps: int) -> np.ndarray:
    """Indices (n, <= k) of the feature maps with the largest sums of weights (n, p, k) over p positions, in order."""
    return np.argsort(-weights.sum(1), axis=1, kind="stable")[:, :n_maps]
