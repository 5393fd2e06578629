"""Which features a component pools, as pictures: figures 4, 5 and 9 (left) of Sukhbaatar, Makino, Aihara (2013)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.base import to_numpy
from sklinvariant.inspection._components import chosen_components, strongest_maps
from sklinvariant.inspection._mosaic import around_grey, label_rows, mosaic, new_axes, stretched


class ClusterDisplay:
    """Draws a row of pictures for each component: the filters of the features that it pools, strongest first.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, h, w) or (n_filters, h, w, c)
        The features as pictures.
    members : list of n lists of int
        Which filters belong to each component, strongest first.
    names : list of n str or None, default=None
        Of the components.

    Attributes
    ----------
    ax_, figure_
        matplotlib's, once drawn.
    """

    def __init__(
        self, filters: np.ndarray, members: Sequence[Sequence[int]], names: Sequence[str] | None = None
    ) -> None:
        self.filters = filters
        self.members = members
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        filters: Any,
        *,
        components: int | Sequence[int] = 12,
        n_filters: int = 15,
        threshold: float = 0.1,
        filter_shape: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the clusters of features that a fitted pooling has learned.

        Parameters
        ----------
        estimator : AutoPooling, or another with ``components_`` (n_components, n_features)
            Of a Pipeline, the last step.
        filters : array of shape (k, h, w), (k, h, w, c) or (k, h * w * c)
            A picture of each feature: ``components_`` of the feature extractor. Where the features are k feature maps,
            flattened in the order (h, w, k), of each map: it weighs what all its places weigh.
        components : int or list of int, default=12
            Which; an int takes as many, those of the largest norm.
        n_filters : int, default=15
            Most filters of a component.
        threshold : float, default=0.1
            Filters that weigh at most this part of a component's strongest are not its members (the paper's ε).
        filter_shape : tuple or None, default=None
            ``(h, w)`` or ``(h, w, c)`` of filters that come as flat rows; None takes a square.
        ax : matplotlib axes or None, default=None
            Where to draw.
        **kwargs
            For ``imshow``.

        Returns
        -------
        ClusterDisplay

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import NMF
        >>> from sklinvariant.inspection import ClusterDisplay
        >>> X, _ = load_digits(return_X_y=True)
        >>> parts = NMF(12, max_iter=1000, random_state=0).fit(X)
        >>> pooling = NMF(3, max_iter=1000, random_state=0).fit(parts.transform(X))
        >>> ClusterDisplay.from_estimator(pooling, parts.components_, n_filters=3).names
        ['0', '1', '2']
        """
        filters = _as_pictures(filters, filter_shape)
        if n_filters < 1:
            raise ValueError(f"n_filters must be at least 1, got {n_filters}")
        chosen, weights = chosen_components(estimator, components)
        if weights.shape[1] % len(filters):
            raise ValueError(f"{len(filters)} filters for components of {weights.shape[1]} features")
        by_place = weights.reshape(len(weights), -1, len(filters))
        weights, best = by_place.sum(1), strongest_maps(by_place, n_filters)
        least = threshold * weights.max(1)
        members = [row[w[row] > low].tolist() for row, w, low in zip(best, weights, least, strict=True)]
        return cls(filters, members, [str(i) for i in chosen]).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on an axes, a new one when None; each filter over its own range, 0 grey where they have negative values.

        Parameters
        ----------
        ax : matplotlib axes or None, default=None
        **kwargs
            For ``imshow``.

        Returns
        -------
        ClusterDisplay
        """
        pictures = around_grey(self.filters) if np.min(self.filters) < 0 else stretched(self.filters)
        columns = max(1, *map(len, self.members))
        tiles = np.ones((len(self.members), columns, *pictures.shape[1:]))  # white where there are no more
        for row, members in zip(tiles, self.members, strict=True):
            row[: len(members)] = pictures[members]
        picture = mosaic(tiles.reshape(-1, *pictures.shape[1:]), columns)
        ax = new_axes(picture) if ax is None else ax
        ax.imshow(picture, **{"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **kwargs})
        label_rows(ax, self.names, pictures.shape[1])
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _as_pictures(filters, shape):
    filters = np.asarray(to_numpy(filters))
    if filters.ndim == 2:
        side = round(filters.shape[1] ** 0.5)
        shape = (side, side) if shape is None else tuple(shape)
        if np.prod(shape) != filters.shape[1]:
            raise ValueError(f"filters of {filters.shape[1]} values are no pictures of filter_shape={shape}")
        filters = filters.reshape(len(filters), *shape)
    if filters.ndim not in (3, 4):
        raise ValueError(f"filters must be pictures (k, h, w[, c]) or flat rows, got shape {filters.shape}")
    return filters[..., 0] if filters.ndim == 4 and filters.shape[3] == 1 else filters
