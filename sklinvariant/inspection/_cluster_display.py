"""The features pooled by a component, as images: figures 4, 5 and 9 (left) of Sukhbaatar, Makino, Aihara (2013)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.base import to_numpy
from sklinvariant.inspection._components import chosen_components, strongest_maps
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import around_grey, label_rows, mosaic, new_axes, stretched
from sklinvariant.inspection._style import style


class ClusterDisplay(Display):
    """Plot a row of images for each component: the filters of the features that it pools, largest weight first.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, h, w) or (n_filters, h, w, c)
        The features as images.
    members : list of n lists of int
        Indices of the filters of each component, largest weight first.
    names : list of n str or None, default=None
        Names of the components.

    Attributes
    ----------
    ax_ : matplotlib axes
        The axes with the images of all components.
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
        image_shape: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the clusters of features learned by a fitted pooling estimator.

        Parameters
        ----------
        estimator : AutoPooling, or another with ``components_`` (n_components, n_features)
            The estimator, or a Pipeline that ends with one.
        filters : array of shape (k, h, w), (k, h, w, c) or (k, h * w * c)
            An image of each feature, such as ``components_`` of the feature extractor. If the features are k feature
            maps, flattened in the order (h, w, k), pass one image for each map; its weight is the sum over all cells.
        components : int or list of int, default=12
            Indices of the components, or the number of components, of which those with the largest norms are shown.
        n_filters : int, default=15
            Maximum number of filters per component.
        threshold : float, default=0.1
            Filters are shown if their weight exceeds this share of the component's largest weight (the paper's ε).
        image_shape : tuple or None, default=None
            ``(h, w)`` or ``(h, w, c)`` of filters passed as flat rows; None assumes squares.

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
        filters = _as_images(filters, image_shape)
        if n_filters < 1:
            raise ValueError(f"n_filters={n_filters} is not valid. Pass an integer of at least 1.")
        chosen, weights = chosen_components(estimator, components)
        if weights.shape[1] % len(filters):
            raise ValueError(
                f"filters has {len(filters)} filters, but the components have {weights.shape[1]} features, which must "
                "be a multiple. Pass one filter for each feature or feature map."
            )
        by_place = weights.reshape(len(weights), -1, len(filters))
        weights, best = by_place.sum(1), strongest_maps(by_place, n_filters)
        least = threshold * weights.max(1)
        members = [row[w[row] > low].tolist() for row, w, low in zip(best, weights, least, strict=True)]
        return cls(filters, members, [str(i) for i in chosen]).plot(ax, **kwargs)

    @style()
    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot on the given axes, or on new ones.

        Each filter is scaled to its range. With negative values, 0 is grey.
        """
        images = around_grey(self.filters) if np.min(self.filters) < 0 else stretched(self.filters)
        columns = max(1, *map(len, self.members))
        tiles = np.ones((len(self.members), columns, *images.shape[1:]))  # empty tiles are white
        for row, members in zip(tiles, self.members, strict=True):
            row[: len(members)] = images[members]
        image = mosaic(tiles.reshape(-1, *images.shape[1:]), columns)
        ax = new_axes(image, len(tiles), names=self.names) if ax is None else ax
        ax.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 1, **kwargs})
        label_rows(ax, self.names, images.shape[1])
        ax.set(title="filters pooled together", xlabel="filters, largest weight first", ylabel="component")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _as_images(filters, shape):
    filters = np.asarray(to_numpy(filters))
    if filters.ndim == 2:
        side = round(filters.shape[1] ** 0.5)
        shape = (side, side) if shape is None else tuple(shape)
        if np.prod(shape) != filters.shape[1]:
            raise ValueError(
                f"filters have {filters.shape[1]} values, which image_shape={shape} does not match. Change it."
            )
        filters = filters.reshape(len(filters), *shape)
    if filters.ndim not in (3, 4):
        raise ValueError(
            f"filters has shape {filters.shape}, but images (k, h, w[, c]) or flat rows are required. Reshape them."
        )
    return filters[..., 0] if filters.ndim == 4 and filters.shape[3] == 1 else filters
